#include "kernels/cpu/narrow_weight.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/intrinsics.h"

namespace ovi::cpu {
namespace {

// Values past the row's `count` are zero, up to whole steps.
template <typename Layout, typename T, typename Value>
void PutRow(const Value& value, std::int64_t count, std::int64_t steps, std::int64_t in_panel, T* panel) {
  for (std::int64_t i = 0; i < steps * Layout::kStepValues; ++i) {
    panel[Layout::ValueOffset(in_panel, i)] = i < count ? value(i) : T{};
  }
}

}  // namespace

template <typename Layout>
void PackNarrowRow(const GemmWeight& weight, std::int64_t index, const std::uint8_t* row) {
  const Layout layout(weight);
  std::byte* panel = weight.storage.data + layout.StepOffset(index / Layout::kPanelRows, 0);
  PutRow<Layout>([&](std::int64_t i) { return row[i]; }, weight.k, layout.steps(), index % Layout::kPanelRows,
                 reinterpret_cast<std::uint8_t*>(panel));
}

template <typename Layout>
void PackNarrowRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row) {
  constexpr std::int64_t kBytes = sizeof(BFloat16);
  const Layout layout(weight);
  const std::int64_t panel = index / Layout::kPanelRows;
  const std::int64_t in_panel = index % Layout::kPanelRows;
  std::byte* packed = weight.storage.data;
  // Of 8 values of K and 16 rows, 16 words of 32 bits: word 2 r + (k % 2) has rows r and r + 8, alternating,
  // of k, k + 2, k + 4 and k + 6. So a shift by 4 bits more gives the values of the next half vector of
  // pairs.
  const int shift = in_panel % 16 < 8 ? 0 : 4;
  auto* words = reinterpret_cast<std::uint8_t*>(packed + layout.StepOffset(panel, 0)) + in_panel % 8 * 8;
  const std::int64_t values = (layout.steps() - layout.tail_steps()) * Layout::kStepValues;
  for (std::int64_t i = 0; i < values; ++i) {
    std::uint8_t& byte = words[Layout::WordsOffset(in_panel, i) + i % 2 * 4 + i % 8 / 2];
    const int bits = i < weight.k ? FourBitValue(row.q, i) & 0xf : 0;
    byte = static_cast<std::uint8_t>((byte & 0xf0 >> shift) | bits << shift);
  }
  for (std::int64_t group = 0; group < FourBitGroups(weight.k); ++group) {
    std::memcpy(packed + layout.ScaleOffset(panel, group) + in_panel * kBytes, row.scale + group * kBytes,
                kBytes);
  }
  const auto up = [&](std::int64_t i) {
    BFloat16 value;
    std::memcpy(&value, row.up + i * kBytes, kBytes);
    return value;
  };
  PutRow<Layout>(up, weight.four_bit->tail_rank, layout.tail_steps(), in_panel,
                 reinterpret_cast<BFloat16*>(packed + layout.TailOffset(panel, 0)));
}

template void PackNarrowRow<WidenedLayout>(const GemmWeight&, std::int64_t, const std::uint8_t*);
template void PackNarrowRow<WidenedLayout>(const GemmWeight&, std::int64_t, const FourBitRow&);
template void PackNarrowRow<AmxNarrowLayout>(const GemmWeight&, std::int64_t, const std::uint8_t*);
template void PackNarrowRow<AmxNarrowLayout>(const GemmWeight&, std::int64_t, const FourBitRow&);

#if defined(__x86_64__)

namespace {

// The bytes of a bf16 by 16 e4m3 each, four times over: a lookup sees its own quarter of a register.
struct WidenTables {
  // Of a normal number, by the upper 3 bits of its exponent; the lower byte is the rest of it, moved up.
  alignas(64) std::array<std::uint8_t, 64> normal_high{};
  // Of NaN and of numbers without an exponent, by the e4m3 plus 1.
  alignas(64) std::array<std::uint8_t, 64> special_high{};
  alignas(64) std::array<std::uint8_t, 64> special_low{};

  WidenTables() {
    for (std::size_t i = 0; i < 64; ++i) {
      const std::size_t in_quarter = i % 16;
      normal_high[i] = static_cast<std::uint8_t>(Bits(in_quarter % 8 << 4 | 8) >> 8);
      const std::uint16_t special = Bits(in_quarter == 0 ? 0x7f : in_quarter - 1);
      special_high[i] = static_cast<std::uint8_t>(special >> 8);
      special_low[i] = static_cast<std::uint8_t>(special);
    }
  }

  static std::uint16_t Bits(std::size_t e4m3) { return ToBFloat16(Float8E4M3Table()[e4m3]).bits; }
};

// Both bytes of 64 values at a time, so that lookups among 16 bytes do. Among 128 bf16 they take longer on
// Intel: by llvm-mca for Ice Lake 6.6 cycles for 32 values, these 4.7.
[[gnu::target("avx512f,avx512bw,avx512vl")]] void WidenE4M3(const std::byte* from, std::int64_t values,
                                                            std::byte* to) {
  static const WidenTables tables;
  const __m512i normal_high = _mm512_load_si512(tables.normal_high.data());
  const __m512i special_high = _mm512_load_si512(tables.special_high.data());
  const __m512i special_low = _mm512_load_si512(tables.special_low.data());
  // Unpacking takes 8 bytes from each quarter.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::int64_t i = 0; i < values; i += 64) {
    const __m512i x = _mm512_permutexvar_epi64(order, _mm512_load_si512(from + i));
    const __m512i next = _mm512_and_si512(_mm512_add_epi8(x, _mm512_set1_epi8(1)), _mm512_set1_epi8(0x7f));
    const __mmask64 special = _mm512_cmple_epu8_mask(next, _mm512_set1_epi8(8));
    const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(0x0f));
    __m512i high = _mm512_shuffle_epi8(normal_high, upper);
    __m512i low = _mm512_and_si512(_mm512_slli_epi16(x, 4), _mm512_set1_epi8(static_cast<char>(0xf0)));
    high = _mm512_mask_shuffle_epi8(high, special, special_high, next);
    low = _mm512_mask_shuffle_epi8(low, special, special_low, next);
    // sign ? x : high, bit by bit
    high = _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(0x80)), x, high, 0xca);
    _mm512_store_si512(to + i * 2, _mm512_unpacklo_epi8(low, high));
    _mm512_store_si512(to + i * 2 + 64, _mm512_unpackhi_epi8(low, high));
  }
}

// Half a vector of pairs of K: 16 values of 4 bits from the low bits of `words`, times their rows' scales.
[[gnu::target("avx512f")]] inline __m512 ScaledValues(__m512i words, int shift, __m512 table, __m512 scale) {
  return _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(words, static_cast<unsigned>(shift)), table),
                       scale);
}

// `steps` of a panel from the first of a group on, whose scales `scales` points at; see PackNarrowRow.
template <typename Layout>
[[gnu::target("avx512f,avx512bw,avx512vl,avx512bf16")]] void WidenFourBit(const std::byte* from,
                                                                          const std::byte* scales,
                                                                          std::int64_t steps, std::byte* to) {
  const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  const __m512i first_rows = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i last_rows = _mm512_add_epi32(first_rows, _mm512_set1_epi32(8));
  for (std::int64_t begin = 0; begin < steps; begin += Layout::kGroupSteps) {
    const std::int64_t end = std::min(begin + Layout::kGroupSteps, steps) * Layout::kStepValues;
    for (std::int64_t row = 0; row < Layout::kPanelRows; row += 16) {
      const __m256i stored = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales + row * 2));
      const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(stored), 16));
      const __m512 first = _mm512_permutexvar_ps(first_rows, scale);
      const __m512 last = _mm512_permutexvar_ps(last_rows, scale);
      for (std::int64_t i = begin * Layout::kStepValues; i < end; i += 8) {
        const __m512i words = _mm512_load_si512(from + Layout::WordsOffset(row, i));
#pragma GCC unroll 4
        for (int pair = 0; pair < 4; ++pair) {
          const __m512bh wide = _mm512_cvtne2ps_pbh(ScaledValues(words, pair * 8 + 4, table, last),
                                                    ScaledValues(words, pair * 8, table, first));
          std::memcpy(to + Layout::ValueOffset(row, i + pair * 2) * 2, &wide, sizeof(wide));
        }
      }
    }
    scales += Layout::kGroupScaleBytes;
  }
}

}  // namespace

template <typename Layout>
const std::byte* WideBlock(const GemmWeight& weight, const Layout& layout, const PanelBlock& at,
                           std::byte* scratch) {
  const std::byte* packed = weight.storage.data;
  const std::byte* block = packed + layout.Offset(at.panel, at.block);
  const std::int64_t steps = layout.BlockSteps(at.block);
  if (layout.IsTail(at.block)) return block;
  if (weight.four_bit) {
    const std::int64_t group = layout.BlockBegin(at.block) / Layout::kGroupSteps;
    WidenFourBit<Layout>(block, packed + layout.ScaleOffset(at.panel, group), steps, scratch);
  } else {
    WidenE4M3(block, steps * Layout::kPanelStepValues, scratch);
  }
  return scratch;
}

template const std::byte* WideBlock(const GemmWeight&, const WidenedLayout&, const PanelBlock&, std::byte*);
template const std::byte* WideBlock(const GemmWeight&, const AmxNarrowLayout&, const PanelBlock&, std::byte*);

#endif

}  // namespace ovi::cpu
