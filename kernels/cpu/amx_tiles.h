// The state of AMX tiles. For processors that have them (features.h).
#pragma once

#if defined(__x86_64__)
#include <cstdint>

#include "kernels/cpu/intrinsics.h"

namespace ovi::cpu {

// Eight tiles of 16 rows of 64 bytes on this thread, while it lives.
class [[nodiscard]] AmxTiles {
  struct alignas(64) Config {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };

 public:
  [[gnu::target("amx-tile")]] AmxTiles() {
    // Static: GCC 12 believes that _tile_loadconfig reads 8 bytes and may drop the stores of a local.
    static constexpr Config kConfig;
    _tile_loadconfig(&kConfig);
  }
  [[gnu::target("amx-tile")]] ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

}  // namespace ovi::cpu

#endif
