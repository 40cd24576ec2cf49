#include "kernels/cpu/gemm_widened.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_panels.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_rows.h"

#if defined(__x86_64__)
// GCC 12 warns about its own intrinsics, whose undefined vectors are meant (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace ovi::cpu {
namespace {

// Pairs of K: for each, that pair of the panel's 48 rows side by side, here those of one row. Values past the
// row's `count` are zero, up to whole steps.
template <typename T, typename Value>
void PutPairs(const Value& value, std::int64_t count, std::int64_t steps, T* dst) {
  for (std::int64_t i = 0; i < steps * WidenedLayout::kStepValues; ++i) {
    dst[i / 2 * WidenedLayout::kPanelRows * 2 + i % 2] = i < count ? value(i) : T{};
  }
}

}  // namespace

void PackWidenedRow(const GemmWeight& weight, std::int64_t index, const std::uint8_t* row) {
  const WidenedLayout layout(weight);
  const std::int64_t in_panel = index % WidenedLayout::kPanelRows;
  std::byte* panel = weight.storage.data + layout.StepOffset(index / WidenedLayout::kPanelRows, 0);
  PutPairs([&](std::int64_t i) { return row[i]; }, weight.k, layout.steps(),
           reinterpret_cast<std::uint8_t*>(panel) + in_panel * 2);
}

void PackWidenedRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row) {
  constexpr std::int64_t kBytes = sizeof(BFloat16);
  const WidenedLayout layout(weight);
  const std::int64_t panel = index / WidenedLayout::kPanelRows;
  const std::int64_t in_panel = index % WidenedLayout::kPanelRows;
  std::byte* packed = weight.storage.data;
  // Of each step and 16 rows, 16 words of 32 bits: word 2 r + (k % 2) has rows r and r + 8, alternating, of
  // k, k + 2, k + 4 and k + 6. So a shift by 4 bits more gives the values of the next half vector of pairs.
  const int shift = in_panel % 16 < 8 ? 0 : 4;
  auto* words = reinterpret_cast<std::uint8_t*>(packed + layout.StepOffset(panel, 0)) + in_panel / 16 * 64 +
                in_panel % 8 * 8;
  const std::int64_t values = layout.steps() - layout.tail_steps();
  for (std::int64_t i = 0; i < values * WidenedLayout::kStepValues; ++i) {
    const std::int64_t in_step = i % WidenedLayout::kStepValues;
    std::uint8_t& byte =
        words[i / WidenedLayout::kStepValues * layout.StepBytes() + in_step % 2 * 4 + in_step / 2];
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
  PutPairs(up, weight.four_bit->tail_rank, layout.tail_steps(),
           reinterpret_cast<BFloat16*>(packed + layout.TailOffset(panel, 0)) + in_panel * 2);
}

#if defined(__x86_64__)

namespace {

// 576 rows of a block of a take 860 KiB, their sums 250: more than some L2 hold, but the rows are read in
// order and come early enough from L3. Fewer of them lose more to widening.
constexpr PanelBlocking kBlocking{.rows = 576, .row_blocks_max = 2, .panels = 2};

constexpr std::int64_t kStepBytes = WidenedLayout::kStepValues * std::int64_t{sizeof(BFloat16)};
constexpr std::int64_t kPairBytes = WidenedLayout::kPanelRows * 2 * std::int64_t{sizeof(BFloat16)};
constexpr std::int64_t kPanelStepBytes = WidenedLayout::kWideStepBytes;

using Tile = PanelTile<float>;

// The products are asm statements, as in gemm_vnni.cc. The rows that follow are fetched into L1, one line for
// each line that is read.
template <int kRows>
[[gnu::target("avx512f,avx512bw,avx512vl,avx512bf16"), gnu::noinline]] void RunTile(const Tile& tile) {
  constexpr int kVectors = 3;
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] = _mm512_load_ps(tile.from + row * tile.from_stride + v * 16);
    }
  }
  for (std::int64_t line = 0; line < tile.next_w_lines; ++line) {
    _mm_prefetch(tile.next_w + line * 64, _MM_HINT_T1);
  }
  const std::int64_t row_bytes = tile.steps * kStepBytes;
  const std::byte* a = tile.a;
  const std::byte* next_a = a + kRows * row_bytes;
  const std::byte* w = tile.w;
  const std::byte* const end = w + tile.steps * kPanelStepBytes;
  for (; w != end; w += kPanelStepBytes, a += kStepBytes) {
    _mm_prefetch(next_a, _MM_HINT_T0);
    _mm_prefetch(next_a + kRows * kStepBytes / 2, _MM_HINT_T0);
    next_a += kRows * kStepBytes;
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      __m512i columns[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_load_si512(w + pair * kPairBytes + v * 64);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        std::int32_t two;
        std::memcpy(&two, a + row * row_bytes + pair * 4, sizeof(two));
        const __m512i values = _mm512_set1_epi32(two);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) {
          asm volatile("vdpbf16ps %2, %1, %0" : "+v"(sums[row][v]) : "v"(values), "v"(columns[v]));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      _mm512_store_ps(tile.sums + row * tile.sums_stride + v * 16, sums[row][v]);
    }
  }
}

constexpr PanelTiles<float> kTiles = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>,
                                      RunTile<5>, RunTile<6>, RunTile<7>, RunTile<8>};

// The bf16 of every e4m3 without its sign, the upper half of its f32.
struct alignas(64) WidenTable {
  std::array<std::uint16_t, 128> bits{};

  WidenTable() {
    for (std::size_t byte = 0; byte < bits.size(); ++byte)
      bits[byte] = ToBFloat16(Float8E4M3Table()[byte]).bits;
  }
};

// 0x80 of each byte becomes the sign, the rest is looked up: 64 entries in each pair of registers.
[[gnu::target("avx512f,avx512bw,avx512vl")]] void WidenE4M3(const std::byte* from, std::int64_t values,
                                                            std::byte* to) {
  static const WidenTable table;
  __m512i parts[4];
  for (int i = 0; i < 4; ++i) parts[i] = _mm512_load_si512(table.bits.data() + i * 32);
  const __m512i sign = _mm512_set1_epi16(static_cast<short>(0x8000));
  for (std::int64_t i = 0; i < values; i += 32) {
    const __m512i x = _mm512_cvtepu8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
    const __m512i low = _mm512_permutex2var_epi16(parts[0], x, parts[1]);
    const __m512i high = _mm512_permutex2var_epi16(parts[2], x, parts[3]);
    const __mmask32 is_high = _mm512_test_epi16_mask(x, _mm512_set1_epi16(0x40));
    const __m512i magnitude = _mm512_mask_mov_epi16(low, is_high, high);
    // sign ? x << 8 : magnitude, bit by bit
    const __m512i wide = _mm512_ternarylogic_epi32(sign, _mm512_slli_epi16(x, 8), magnitude, 0xca);
    _mm512_store_si512(to + i * 2, wide);
  }
}

// Half a vector of pairs of K: 16 values of 4 bits from the low bits of `words`, times their rows' scales.
[[gnu::target("avx512f")]] inline __m512 ScaledValues(__m512i words, int shift, __m512 table, __m512 scale) {
  return _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(words, static_cast<unsigned>(shift)), table),
                       scale);
}

// `steps` of a panel from the first of a group on, whose scales `scales` points at; see PackWidenedRow.
[[gnu::target("avx512f,avx512bw,avx512vl,avx512bf16")]] void WidenFourBit(const std::byte* from,
                                                                          const std::byte* scales,
                                                                          std::int64_t steps, std::byte* to) {
  constexpr std::int64_t kFromStep = WidenedLayout::kPanelStepValues / 2;
  const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  const __m512i first_rows = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i last_rows = _mm512_add_epi32(first_rows, _mm512_set1_epi32(8));
  for (std::int64_t begin = 0; begin < steps; begin += WidenedLayout::kGroupSteps) {
    const std::int64_t end = std::min(begin + WidenedLayout::kGroupSteps, steps);
    for (std::int64_t v = 0; v < WidenedLayout::kPanelRows / 16; ++v) {
      const __m256i stored = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales + v * 32));
      const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(stored), 16));
      const __m512 first = _mm512_permutexvar_ps(first_rows, scale);
      const __m512 last = _mm512_permutexvar_ps(last_rows, scale);
      for (std::int64_t step = begin; step < end; ++step) {
        const __m512i words = _mm512_load_si512(from + step * kFromStep + v * 64);
        std::byte* pairs = to + step * kPanelStepBytes + v * 64;
#pragma GCC unroll 4
        for (int pair = 0; pair < 4; ++pair) {
          const __m512bh wide = _mm512_cvtne2ps_pbh(ScaledValues(words, pair * 8 + 4, table, last),
                                                    ScaledValues(words, pair * 8, table, first));
          std::memcpy(pairs + pair * kPairBytes, &wide, sizeof(wide));
        }
      }
    }
    scales += WidenedLayout::kGroupScaleBytes;
  }
}

// A block of a panel as bf16 pairs: in `scratch`, or where it lies.
const std::byte* WideBlock(const GemmWeight& weight, const WidenedLayout& layout, const PanelBlock& at,
                           std::byte* scratch) {
  const std::byte* packed = weight.storage.data;
  const std::byte* block = packed + layout.Offset(at.panel, at.block);
  const std::int64_t steps = layout.BlockSteps(at.block);
  if (layout.IsTail(at.block)) return block;
  if (weight.four_bit) {
    const std::int64_t group = layout.BlockBegin(at.block) / WidenedLayout::kGroupSteps;
    WidenFourBit(block, packed + layout.ScaleOffset(at.panel, group), steps, scratch);
  } else {
    WidenE4M3(block, steps * WidenedLayout::kPanelStepValues, scratch);
  }
  return scratch;
}

// As it is, but for zeros up to whole steps, before the tail and after it.
void PackRow(const Gemm& op, const WidenedLayout& layout, const PackedRows& packed, std::int64_t row) {
  const std::int64_t tail_begin = (layout.steps() - layout.tail_steps()) * kStepBytes;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const bool tail = layout.IsTail(block);
    const Tensor& from = tail ? op.a_tail : op.a;
    const std::int64_t row_bytes = from.shape[1] * std::int64_t{sizeof(BFloat16)};
    const std::int64_t begin = layout.BlockBegin(block) * kStepBytes;
    const std::int64_t begin_from = tail ? begin - tail_begin : begin;
    const std::int64_t bytes = layout.BlockSteps(block) * kStepBytes;
    const std::int64_t count = std::min(bytes, row_bytes - begin_from);
    std::byte* dst = packed.Block(begin) + row * bytes;
    std::memcpy(dst, from.data + (packed.row + row) * row_bytes + begin_from,
                static_cast<std::size_t>(count));
    std::memset(dst + count, 0, static_cast<std::size_t>(bytes - count));  // W is zero here, too
  }
}

// The rows of `a` times panels [begin, end) of W, to the end.
bool RunTask(const Gemm& op, const WidenedLayout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const std::int64_t panels = end - begin;
  // One more line a row, as in gemm_vnni.cc.
  const std::int64_t stride = panels * WidenedLayout::kPanelRows + 16;
  constexpr std::int64_t kWideBytes = WidenedLayout::kBlockSteps * kPanelStepBytes;
  std::byte* wide = scratch.Reserve(kWideBytes + a.rows * stride * std::int64_t{sizeof(float)});
  if (wide == nullptr) return false;
  auto* sums = reinterpret_cast<float*>(wide + kWideBytes);
  alignas(64) static constexpr std::array<float, WidenedLayout::kPanelRows> kZeros{};
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      Tile tile;
      tile.a = a.Block(layout.BlockBegin(block) * kStepBytes);
      tile.w = WideBlock(*op.weight, layout, {panel, block}, wide);
      tile.steps = layout.BlockSteps(block);
      tile.sums = sums + (panel - begin) * WidenedLayout::kPanelRows;
      tile.sums_stride = stride;
      tile.from = block == 0 ? kZeros.data() : tile.sums;
      tile.from_stride = block == 0 ? 0 : stride;
      const PanelBlock next = NextPanelBlock({panel, block}, begin, end, layout.panels(), layout.blocks());
      tile.next_w = op.weight->storage.data + layout.Offset(next.panel, next.block);
      RunPanelTiles(kTiles, tile, a.rows, tile.steps * kStepBytes, layout.BlockBytes(next.block));
    }
  }
  const std::int64_t column = begin * WidenedLayout::kPanelRows;
  const std::int64_t columns = std::min(op.weight->n - column, panels * WidenedLayout::kPanelRows);
  const GemmWindow window{a.row, a.rows, column, columns};
  if (IsQuantised(op.weight->dtype)) ScaleSums(op, window, sums, stride);
  FinishGemm(op, window, sums, stride);
  return true;
}

}  // namespace

absl::Status RunWidenedGemm(const Gemm& op) {
  const WidenedLayout layout(*op.weight);
  return RunPanelTasks(
      kBlocking, op.a.shape[0], layout.panels(), layout.steps() * kStepBytes,
      [&](const PackedRows& rows, std::int64_t row) { PackRow(op, layout, rows, row); },
      [&](const PackedRows& rows, std::int64_t begin, std::int64_t end) {
        return RunTask(op, layout, rows, begin, end);
      });
}

#else

absl::Status RunWidenedGemm(const Gemm&) {
  return absl::InternalError("gemm: AVX-512 BF16 asked for on another processor");
}

#endif

}  // namespace ovi::cpu
