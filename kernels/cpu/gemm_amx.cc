#include "kernels/cpu/gemm_amx.h"

#include <atomic>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ovi::cpu {

void PackAmxRow(const AmxLayout& layout, std::int64_t index, const std::byte* row, std::int64_t row_bytes,
                std::byte* packed) {
  // A tile holds, for each 4 bytes of K, those 4 bytes of 16 rows of W side by side.
  const std::int64_t in_panel = index % AmxLayout::kPanelRows;
  const std::int64_t tile_offset = in_panel / 16 * 1024 + in_panel % 16 * 4;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    std::byte* step_data = packed + layout.Offset(index / AmxLayout::kPanelRows, block) + tile_offset;
    for (std::int64_t step = layout.BlockBegin(block); step < layout.BlockBegin(block + 1); ++step) {
      alignas(64) std::byte line[AmxLayout::kStepBytes] = {};
      const std::int64_t begin = step * AmxLayout::kStepBytes;
      std::memcpy(line, row + begin,
                  static_cast<std::size_t>(std::min(AmxLayout::kStepBytes, row_bytes - begin)));
      for (std::int64_t quad = 0; quad < 16; ++quad) std::memcpy(step_data + quad * 64, line + quad * 4, 4);
      step_data += AmxLayout::kPanelStepBytes;
    }
  }
}

#if defined(__x86_64__)

#define OVI_AMX_TARGET [[gnu::target("amx-tile,amx-bf16,amx-int8,avx512f"), gnu::noinline]]

namespace {

constexpr std::int64_t kPairRows = 32;     // two tiles of rows of a, one above the other
constexpr std::int64_t kRowBlock = 256;    // rows that share one pass over W
constexpr std::int64_t kRowBlocksMax = 4;  // row blocks packed at a time
constexpr std::int64_t kPairStepBytes = 2048;

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// Static: GCC 12's _tile_loadconfig tells the compiler of its first 8 bytes only.
constexpr TileConfig kTiles;

OVI_AMX_TARGET void LoadTiles() {
  _tile_loadconfig(&kTiles);
}
OVI_AMX_TARGET void ReleaseTiles() {
  _tile_release();
}

// One block of one panel against all pairs of rows.
struct PanelPass {
  const std::byte* a = nullptr;  // pair after pair, each `steps` steps of two tiles
  const std::byte* w = nullptr;  // `steps` steps of two tiles
  std::byte* sums = nullptr;     // the top left corner of the panel's sums
  std::int64_t sums_stride = 0;  // bytes
  std::int64_t steps = 0;
  std::int64_t pairs = 0;
  // Fetched into L2 meanwhile, so many cache lines a step: the next panel, and a share of the rows' next
  // block.
  const std::byte* next_w = nullptr;
  int next_w_lines = 0;
  const std::byte* next_a = nullptr;
  int next_a_lines = 0;
};

// Tiles 0-3 are the sums (top left, top right, bottom left, bottom right), 4-5 rows of a, 6-7 columns of W.
// Rows of a are loaded with the hint that keeps them from pushing W out of L1: without it half of the rate is
// lost. At a change of pair the stores of the old sums and the loads of the new ones stand between
// multiplications, so that the tile unit does not wait for either.
#define OVI_LOAD_AW(a, w)                \
  _tile_stream_loadd(4, (a), 64);        \
  _tile_stream_loadd(5, (a) + 1024, 64); \
  _tile_loadd(6, (w), 64);               \
  _tile_loadd(7, (w) + 1024, 64)
#define OVI_DOT(sum, x, y)     \
  if constexpr (kInt8) {       \
    _tile_dpbssd(sum, x, y);   \
  } else {                     \
    _tile_dpbf16ps(sum, x, y); \
  }
#define OVI_LOAD_SUM(tile, address)     \
  if constexpr (kFirstBlock) {          \
    _tile_zero(tile);                   \
  } else {                              \
    _tile_loadd(tile, address, stride); \
  }

template <bool kInt8, bool kFirstBlock>
OVI_AMX_TARGET void RunPanelPass(const PanelPass& pass) {
  // GCC's tile loads do not tell the compiler that they read memory.
  asm volatile("" ::: "memory");
  const std::int64_t stride = pass.sums_stride;
  const std::int64_t down = 16 * stride;
  const std::byte* next_w = pass.next_w;
  const std::byte* next_a = pass.next_a;
  const std::byte* a = pass.a;
  std::byte* c = pass.sums;
  OVI_LOAD_SUM(0, c);
  OVI_LOAD_SUM(1, c + 64);
  OVI_LOAD_SUM(2, c + down);
  OVI_LOAD_SUM(3, c + down + 64);
  OVI_LOAD_AW(a, pass.w);
  OVI_DOT(0, 4, 6);
  OVI_DOT(1, 4, 7);
  OVI_DOT(2, 5, 6);
  OVI_DOT(3, 5, 7);
  for (std::int64_t pair = 1;; ++pair) {
    std::byte* next_c = c + kPairRows * stride;
    const std::byte* soon = next_c;
    const std::byte* w = pass.w + AmxLayout::kPanelStepBytes;
    const std::byte* end = a + pass.steps * kPairStepBytes;
    for (a += kPairStepBytes; a != end; a += kPairStepBytes, w += AmxLayout::kPanelStepBytes) {
      OVI_LOAD_AW(a, w);
      OVI_DOT(0, 4, 6);
      if constexpr (!kFirstBlock) {
        _mm_prefetch(soon, _MM_HINT_T0);
        _mm_prefetch(soon + 64, _MM_HINT_T0);
        _mm_prefetch(soon + stride, _MM_HINT_T0);
        _mm_prefetch(soon + stride + 64, _MM_HINT_T0);
        soon += 2 * stride;
      }
      OVI_DOT(1, 4, 7);
      for (int line = 0; line < pass.next_w_lines; ++line, next_w += 64) _mm_prefetch(next_w, _MM_HINT_T1);
      for (int line = 0; line < pass.next_a_lines; ++line, next_a += 64) _mm_prefetch(next_a, _MM_HINT_T1);
      OVI_DOT(2, 5, 6);
      OVI_DOT(3, 5, 7);
    }
    if (pair == pass.pairs) break;
    OVI_LOAD_AW(a, pass.w);
    _tile_stored(0, c, stride);
    OVI_LOAD_SUM(0, next_c);
    OVI_DOT(0, 4, 6);
    _tile_stored(1, c + 64, stride);
    OVI_LOAD_SUM(1, next_c + 64);
    OVI_DOT(1, 4, 7);
    _tile_stored(2, c + down, stride);
    OVI_LOAD_SUM(2, next_c + down);
    OVI_DOT(2, 5, 6);
    _tile_stored(3, c + down + 64, stride);
    OVI_LOAD_SUM(3, next_c + down + 64);
    OVI_DOT(3, 5, 7);
    c = next_c;
  }
  _tile_stored(0, c, stride);
  _tile_stored(1, c + 64, stride);
  _tile_stored(2, c + down, stride);
  _tile_stored(3, c + down + 64, stride);
}

using PassFunction = void (*)(const PanelPass&);
PassFunction ChoosePass(bool int8, bool first_block) {
  if (int8) return first_block ? RunPanelPass<true, true> : RunPanelPass<true, false>;
  return first_block ? RunPanelPass<false, true> : RunPanelPass<false, false>;
}

// Rows of a in the order the passes read them: block by block, in a block pair by pair.
struct PackedRows {
  std::byte* data = nullptr;
  std::int64_t row = 0;   // first row of a
  std::int64_t rows = 0;  // up to kRowBlock; the packed tail is zero
  std::int64_t pairs() const { return (rows + kPairRows - 1) / kPairRows; }
};

// Copies pair `pair`: a cache line of each of its 32 rows at a time, so that the stores run on through the
// packed pair. Row by row, with stores 2 KiB apart, packing takes up to 9% of a multiplication (1024 rows of
// 14336 bf16 on a Xeon with AMX: 7.8 ms against 4.3 ms).
void PackPair(const Gemm& op, const AmxLayout& layout, const PackedRows& packed, std::int64_t pair) {
  constexpr std::int64_t kLine = AmxLayout::kStepBytes;
  const std::int64_t row_bytes = op.weight->k * ElementBytes(op.a.dtype);
  const std::int64_t first = pair * kPairRows;
  const std::int64_t rows = std::min(kPairRows, packed.rows - first);
  const std::byte* src = op.a.data + (packed.row + first) * row_bytes;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t begin = layout.BlockBegin(block);
    const std::int64_t steps = layout.BlockSteps(block);
    std::byte* dst = packed.data + (begin * packed.pairs() + pair * steps) * kPairStepBytes;
    for (std::int64_t step = begin; step < begin + steps; ++step, dst += kPairStepBytes) {
      const std::int64_t bytes = std::min(kLine, row_bytes - step * kLine);
      if (rows < kPairRows || bytes < kLine) std::memset(dst, 0, kPairStepBytes);
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::byte* from = src + row * row_bytes + step * kLine;
        if (bytes == kLine) {
          std::memcpy(dst + row * kLine, from, kLine);
        } else {
          std::memcpy(dst + row * kLine, from, static_cast<std::size_t>(bytes));
        }
      }
    }
  }
}

// The rows of `a` times panels [begin, end) of W, all in one group, to the end.
bool RunTask(const Gemm& op, const AmxLayout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const bool int8 = op.weight->dtype == DType::kI8;
  const std::int64_t panels = end - begin;
  // One more line a row keeps rows that are read together out of each other's cache sets.
  const std::int64_t stride = panels * AmxLayout::kPanelRows + 16;
  std::byte* sums = scratch.Reserve(a.pairs() * kPairRows * stride * std::int64_t{sizeof(float)});
  if (sums == nullptr) return false;
  LoadTiles();
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t steps = layout.BlockSteps(block);
    const PassFunction run = ChoosePass(int8, block == 0);
    PanelPass pass;
    pass.a = a.data + layout.BlockBegin(block) * a.pairs() * kPairStepBytes;
    pass.sums_stride = stride * std::int64_t{sizeof(float)};
    pass.steps = steps;
    pass.pairs = a.pairs();
    pass.next_w_lines = static_cast<int>((32 + a.pairs() - 1) / a.pairs());
    // After the last block, the next task's first one.
    const std::int64_t next_block = (block + 1) % layout.blocks();
    const std::int64_t panel_steps = panels * steps;
    pass.next_a = a.data + layout.BlockBegin(next_block) * a.pairs() * kPairStepBytes;
    pass.next_a_lines =
        static_cast<int>((layout.BlockSteps(next_block) * 32 + panel_steps - 1) / panel_steps);
    for (std::int64_t panel = begin; panel < end; ++panel) {
      pass.w = op.weight->storage.data + layout.Offset(panel, block);
      pass.next_w = pass.w + steps * AmxLayout::kPanelStepBytes;
      pass.sums = sums + (panel - begin) * AmxLayout::kPanelRows * std::int64_t{sizeof(float)};
      run(pass);
      pass.next_a += pass.next_a_lines * a.pairs() * (steps - 1) * 64;
    }
  }
  ReleaseTiles();
  const std::int64_t column = begin * AmxLayout::kPanelRows;
  const GemmWindow window{a.row, a.rows, column,
                          std::min(op.weight->n - column, panels * AmxLayout::kPanelRows)};
  if (int8) {
    FinishGemm(op, window, reinterpret_cast<const std::int32_t*>(sums), stride);
  } else {
    FinishGemm(op, window, reinterpret_cast<const float*>(sums), stride);
  }
  return true;
}

// Panels of a task: as many as share their rows of a well, fewer where threads would go without work.
std::int64_t TaskPanels(const AmxLayout& layout, std::int64_t row_blocks) {
  const std::int64_t wanted = 3 * std::int64_t{ThreadCount()};
  if (ThreadCount() == 1) return AmxLayout::kGroupPanels;
  const std::int64_t share = layout.panels() * row_blocks / wanted;
  for (const std::int64_t panels : {16, 8}) {
    if (panels <= share) return panels;
  }
  return 4;
}

}  // namespace

absl::Status RunAmxGemm(const Gemm& op) {
  thread_local Scratch scratch;
  const AmxLayout layout(op.weight->dtype, op.weight->n, op.weight->k);
  const std::int64_t m = op.a.shape[0];
  const std::int64_t block_bytes = kRowBlock * layout.steps() * AmxLayout::kStepBytes;
  std::atomic<bool> ok = true;
  for (std::int64_t base = 0; base < m; base += kRowBlock * kRowBlocksMax) {
    const std::int64_t rows = std::min(m - base, kRowBlock * kRowBlocksMax);
    const std::int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
    std::byte* packed = scratch.Reserve(row_blocks * block_bytes);
    if (packed == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
    const auto rows_of = [&](std::int64_t block) {
      return PackedRows{packed + block * block_bytes, base + block * kRowBlock,
                        std::min(kRowBlock, rows - block * kRowBlock)};
    };
    ParallelFor((rows + kPairRows - 1) / kPairRows, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t pair = from; pair < to; ++pair) {
        const std::int64_t pairs_a_block = kRowBlock / kPairRows;
        PackPair(op, layout, rows_of(pair / pairs_a_block), pair % pairs_a_block);
      }
    });
    const std::int64_t task_panels = TaskPanels(layout, row_blocks);
    const std::int64_t column_tasks = (layout.panels() + task_panels - 1) / task_panels;
    // Row blocks run next to each other, so that they find the panels of W in the last-level cache.
    ParallelForEach(column_tasks * row_blocks, [&](std::int64_t task) {
      const std::int64_t begin = task / row_blocks * task_panels;
      const std::int64_t end = std::min(begin + task_panels, layout.panels());
      if (!RunTask(op, layout, rows_of(task % row_blocks), begin, end)) ok = false;
    });
  }
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

#else

absl::Status RunAmxGemm(const Gemm&) {
  return absl::InternalError("gemm: AMX asked for on another processor");
}

#endif

}  // namespace ovi::cpu
