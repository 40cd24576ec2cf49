#include "kernels/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/attention_path.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace ovi::cpu {
namespace {

#if defined(__x86_64__)
// The Xeon this was written on runs VDPBF16PS at half the rate of f32 FMA (115 against 220 Gflop/s a core), a
// Zen 4 at twice (236 against 118). Told by vendor and not by a stopwatch, so that a machine always gives the
// same bits.
bool DotProductIsFaster() {
  static const bool faster = __builtin_cpu_is("amd") != 0;
  return faster;
}
#else
bool DotProductIsFaster() {
  return false;
}
#endif

using Attend = bool (*)(const Attention&, const AttentionRows&);

Attend AttendOn(AttentionPath path) {
  switch (path) {
#if defined(__x86_64__)
    case AttentionPath::kAvx2:
      return AttendAvx2;
    case AttentionPath::kAvx512:
      return AttendAvx512;
    case AttentionPath::kAvx512Bf16:
      return AttendAvx512Bf16;
    case AttentionPath::kAmx:
      return AttendAmx;
#endif
    default:
      return AttendBase;
  }
}

}  // namespace

std::string_view AttentionPathName(AttentionPath path) {
  switch (path) {
    case AttentionPath::kBase:
      return "base";
    case AttentionPath::kAvx2:
      return "avx2";
    case AttentionPath::kAvx512:
      return "avx512";
    case AttentionPath::kAvx512Bf16:
      return "avx512_bf16";
    case AttentionPath::kAmx:
      return "amx";
  }
  return "?";
}

bool CanRunAttention(AttentionPath path, DType dtype) {
  switch (path) {
    case AttentionPath::kBase:
      return true;
    case AttentionPath::kAvx2:
      return CpuFeatures().avx2;
    case AttentionPath::kAvx512:
      return CpuFeatures().avx512;
    case AttentionPath::kAvx512Bf16:
      return CpuFeatures().avx512_bf16 && dtype == DType::kBF16;
    case AttentionPath::kAmx:
      return CpuFeatures().amx && dtype == DType::kBF16;
  }
  return false;
}

AttentionPath ChooseAttentionPath(const Attention& op) {
  const auto can = [&op](AttentionPath path) { return CanRunAttention(path, op.q.dtype); };
  const std::int64_t head_dim = op.q.shape[1] / op.heads;
  // A tile is 32 deep: smaller heads would mostly multiply padding.
  if (can(AttentionPath::kAmx) && head_dim >= 32) return AttentionPath::kAmx;
  if (can(AttentionPath::kAvx512Bf16) && DotProductIsFaster()) return AttentionPath::kAvx512Bf16;
  if (can(AttentionPath::kAvx512)) return AttentionPath::kAvx512;
  if (can(AttentionPath::kAvx2)) return AttentionPath::kAvx2;
  return AttentionPath::kBase;
}

absl::Status RunAttentionOn(AttentionPath path, const Attention& op) {
  const std::int64_t row_count = op.q.shape[0];
  if (row_count == 0) return absl::OkStatus();
  const Attend attend = AttendOn(path);
  // Four tasks a thread even out their ends; fewer rows than kRowsMin would mostly pack keys.
  constexpr std::int64_t kRowsMin = 128;
  const std::int64_t rows_max = AttentionRowsMax(op.q.shape[1] / op.heads);
  const std::int64_t threads = ThreadCount();
  const std::int64_t rows_even = threads == 1 ? rows_max : row_count * op.heads / (4 * threads);
  const std::int64_t rows_task = std::clamp(rows_even, std::min(kRowsMin, rows_max), rows_max);
  const std::int64_t pieces = (row_count + rows_task - 1) / rows_task;
  // Whole groups of rows of every path: 32 of AMX, 24 of the others.
  constexpr std::int64_t kGroup = 96;
  const auto boundary = [&](std::int64_t piece) {
    return piece == pieces ? row_count : row_count * piece / pieces / kGroup * kGroup;
  };
  std::atomic<bool> out_of_memory = false;
  ParallelForEach(op.heads * pieces, [&](std::int64_t task) {
    const std::int64_t piece = task % pieces;
    const AttentionRows rows{task / pieces, boundary(piece), boundary(piece + 1)};
    if (rows.begin < rows.end && !attend(op, rows)) out_of_memory = true;
  });
  if (!out_of_memory) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "attention: no host memory for the scratch of a thread, head_dim=", op.q.shape[1] / op.heads));
}

absl::Status RunAttention(const Attention& op) {
  return RunAttentionOn(ChooseAttentionPath(op), op);
}

std::byte* AttentionScratch(std::int64_t bytes) {
  thread_local Scratch scratch;
  return scratch.Reserve(bytes);
}

}  // namespace ovi::cpu
