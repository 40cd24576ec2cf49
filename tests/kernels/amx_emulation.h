// AMX tiles in plain C++, so that the kernels that use them are tested on any processor with AVX-512 BF16:
// sources compiled with `-include` of this file find these in place of the compiler's intrinsics.
//
// Every tile has 16 rows of 64 bytes. Products do not flush subnormal numbers, which the unit does.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace ovi::test {

inline constexpr int kTileRows = 16;

// Of one thread. Without a configuration the unit faults, and so does this.
struct EmulatedTiles {
  struct Tile {
    alignas(64) std::uint8_t bytes[kTileRows][64];
  };
  bool configured = false;
  Tile tiles[8];

  Tile& operator[](int index) {
    if (!configured) std::abort();
    return tiles[index];
  }
};
inline thread_local EmulatedTiles emulated_tiles;

inline void ConfigureTiles(bool configured) {
  emulated_tiles.configured = configured;
}

inline void ZeroTile(int tile) {
  emulated_tiles[tile] = {};
}

inline void LoadTile(int tile, const void* from, std::int64_t stride) {
  for (int row = 0; row < kTileRows; ++row) {
    std::memcpy(emulated_tiles[tile].bytes[row], static_cast<const std::uint8_t*>(from) + row * stride, 64);
  }
}

inline void StoreTile(int tile, void* to, std::int64_t stride) {
  for (int row = 0; row < kTileRows; ++row) {
    std::memcpy(static_cast<std::uint8_t*>(to) + row * stride, emulated_tiles[tile].bytes[row], 64);
  }
}

// sums[m][n] += a[m][k] b[k][n], a Dot of 4 bytes of K at a time.
template <typename Sum, typename Dot>
void MultiplyTiles(int sums, int a, int b, const Dot& dot) {
  const auto& left = emulated_tiles[a].bytes;
  const auto& right = emulated_tiles[b].bytes;
  for (int m = 0; m < kTileRows; ++m) {
    Sum row[16];
    std::memcpy(row, emulated_tiles[sums].bytes[m], sizeof(row));
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 16; ++n) row[n] = dot(row[n], &left[m][k * 4], &right[k][n * 4]);
    }
    std::memcpy(emulated_tiles[sums].bytes[m], row, sizeof(row));
  }
}

inline void MultiplyBFloat16(int sums, int a, int b) {
  MultiplyTiles<float>(sums, a, b, [](float sum, const std::uint8_t* x, const std::uint8_t* y) {
    std::uint32_t two_x, two_y;
    std::memcpy(&two_x, x, 4);
    std::memcpy(&two_y, y, 4);
    sum += std::bit_cast<float>(two_x << 16) * std::bit_cast<float>(two_y << 16);
    return sum + std::bit_cast<float>(two_x & 0xffff0000u) * std::bit_cast<float>(two_y & 0xffff0000u);
  });
}

inline void MultiplyInt8(int sums, int a, int b) {
  MultiplyTiles<std::int32_t>(sums, a, b, [](std::int32_t sum, const std::uint8_t* x, const std::uint8_t* y) {
    for (int i = 0; i < 4; ++i) sum += static_cast<std::int8_t>(x[i]) * static_cast<std::int8_t>(y[i]);
    return sum;
  });
}

}  // namespace ovi::test

#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(config) ((void)(config), ovi::test::ConfigureTiles(true))
#define _tile_release() ovi::test::ConfigureTiles(false)
#define _tile_loadd(tile, from, stride) ovi::test::LoadTile(tile, from, stride)
#define _tile_stream_loadd(tile, from, stride) ovi::test::LoadTile(tile, from, stride)
#define _tile_stored(tile, to, stride) ovi::test::StoreTile(tile, to, stride)
#define _tile_zero(tile) ovi::test::ZeroTile(tile)
#define _tile_dpbf16ps(sums, a, b) ovi::test::MultiplyBFloat16(sums, a, b)
#define _tile_dpbssd(sums, a, b) ovi::test::MultiplyInt8(sums, a, b)
