#include "kernels/cpu/gemm.h"

#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/gemm_amx.h"
#include "kernels/cpu/gemm_amx_narrow.h"
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_onednn.h"
#include "kernels/cpu/gemm_portable.h"
#include "kernels/cpu/gemm_vnni.h"
#include "kernels/cpu/gemm_widened.h"
#include "kernels/cpu/narrow_weight.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/quantise.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_rows.h"

namespace ovi::cpu {
namespace {

bool IsWeightSource(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF8E4M3 ||
         dtype == DType::kI8;
}

// Row `index` of src as dst keeps it, in `scratch` or where it lies; quantised ones also write their scale.
const std::byte* PreparedRow(const GemmWeight& dst, const HostTensor& src, std::int64_t index,
                             Scratch& scratch) {
  const std::int64_t float_bytes = (dst.k * std::int64_t{sizeof(float)} + 63) / 64 * 64;
  std::byte* memory = scratch.Reserve(float_bytes + dst.k);
  if (memory == nullptr) return nullptr;
  if (IsQuantised(dst.dtype) && src.dtype == dst.dtype) {
    reinterpret_cast<float*>(dst.scale.data)[index] = WeightRowScale(src, index);
    return static_cast<const std::byte*>(src.data) + index * dst.k;
  }
  if (dst.dtype == DType::kBF16) {
    ConvertWeightRow(src, index, reinterpret_cast<BFloat16*>(memory));
    return memory;
  }
  auto* floats = reinterpret_cast<float*>(memory);
  ConvertWeightRow(src, index, floats);
  std::byte* quantised = memory + float_bytes;
  reinterpret_cast<float*>(dst.scale.data)[index] =
      dst.dtype == DType::kI8 ? QuantiseRow(floats, dst.k, reinterpret_cast<std::int8_t*>(quantised))
                              : QuantiseRowE4M3(floats, dst.k, reinterpret_cast<std::uint8_t*>(quantised));
  return quantised;
}

// Calls pack(row) for each of n rows, whole panels a thread: rows of a panel share cache lines, even bytes.
template <typename Pack>
void ForEachRow(std::int64_t n, std::int64_t panel_rows, const Pack& pack) {
  ParallelForEach((n + panel_rows - 1) / panel_rows, [&](std::int64_t panel) {
    const std::int64_t end = std::min(n, (panel + 1) * panel_rows);
    for (std::int64_t row = panel * panel_rows; row < end; ++row) pack(row);
  });
}

// Rows of W that lie side by side at most.
std::int64_t PanelRows(GemmKernel kernel) {
  static_assert(VnniLayout::kPanelRows == WidenedLayout::kPanelRows);
  const bool wide_panels = kernel == GemmKernel::kVnni || kernel == GemmKernel::kWidened;
  return wide_panels ? VnniLayout::kPanelRows : kAmxPanelRows;
}

// Whether the AMX kernel widens it on its way (gemm_amx_narrow.h).
bool IsNarrow(const GemmWeight& weight) {
  return weight.four_bit || weight.dtype == DType::kF8E4M3;
}

absl::Status PackByRows(const GemmWeight& dst, const HostTensor& src, GemmKernel kernel) {
  const AmxLayout amx(dst.dtype, dst.n, dst.k);
  const VnniLayout vnni(dst.n, dst.k);
  std::atomic<bool> ok = true;
  ForEachRow(dst.n, PanelRows(kernel), [&](std::int64_t row) {
    thread_local Scratch scratch;
    const std::byte* values = PreparedRow(dst, src, row, scratch);
    if (values == nullptr) {
      ok = false;
    } else if (kernel == GemmKernel::kAmx && IsNarrow(dst)) {
      PackNarrowRow<AmxNarrowLayout>(dst, row, reinterpret_cast<const std::uint8_t*>(values));
    } else if (kernel == GemmKernel::kAmx) {
      PackAmxRow(amx, row, values, dst.k * ElementBytes(dst.dtype), dst.storage.data);
    } else if (kernel == GemmKernel::kVnni) {
      PackVnniRow(vnni, row, reinterpret_cast<const std::int8_t*>(values), dst.k, dst.storage.data);
    } else if (kernel == GemmKernel::kWidened) {
      PackNarrowRow<WidenedLayout>(dst, row, reinterpret_cast<const std::uint8_t*>(values));
    } else {
      PackPortableRow(dst, row, values);
    }
  });
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm weight: out of host memory");
}

GemmKernel ChooseNarrow(const Features& features) {
  if (features.amx) return GemmKernel::kAmx;
  return features.avx512_bf16 ? GemmKernel::kWidened : GemmKernel::kPortable;
}

// The kernel that the layout of `weight` is for.
GemmKernel KernelOf(const GemmWeight& weight) {
  return weight.four_bit ? ChooseFourBitGemmKernel(CpuFeatures())
                         : ChooseGemmKernel(weight.dtype, CpuFeatures());
}

// `weight` says what to allocate.
absl::StatusOr<GemmWeight> Allocate(Arena& arena, GemmWeight weight, std::string_view what,
                                    GemmKernel kernel) {
  std::int64_t bytes = 0;
  switch (kernel) {
    case GemmKernel::kOneDnn: {
      OVI_ASSIGN_OR_RETURN(bytes, OneDnnGemmBytes(weight.dtype, weight.n, weight.k));
      break;
    }
    case GemmKernel::kAmx:
      bytes = IsNarrow(weight) ? AmxNarrowLayout(weight).bytes()
                               : AmxLayout(weight.dtype, weight.n, weight.k).bytes();
      break;
    case GemmKernel::kVnni:
      bytes = VnniLayout(weight.n, weight.k).bytes();
      break;
    case GemmKernel::kWidened:
      bytes = WidenedLayout(weight).bytes();
      break;
    case GemmKernel::kPortable:
      bytes = PortableGemmBytes(weight);
      break;
  }
  OVI_ASSIGN_OR_RETURN(weight.storage, arena.Allocate(DType::kU8, {bytes}, what));
  if (IsQuantised(weight.dtype)) {
    OVI_ASSIGN_OR_RETURN(weight.scale, arena.Allocate(DType::kF32, {weight.n}, what));
  }
  return weight;
}

}  // namespace

GemmKernel ChooseFourBitGemmKernel(const Features& features) {
  return ChooseNarrow(features);
}

GemmKernel ChooseGemmKernel(DType weight_dtype, const Features& features) {
  if (weight_dtype == DType::kF32) return GemmKernel::kOneDnn;
  if (weight_dtype == DType::kF8E4M3) return ChooseNarrow(features);
  if (features.amx) return GemmKernel::kAmx;
  if (weight_dtype == DType::kI8) return features.avx512_vnni ? GemmKernel::kVnni : GemmKernel::kPortable;
  return features.avx512 ? GemmKernel::kOneDnn : GemmKernel::kPortable;
}

std::string_view GemmKernelName(GemmKernel kernel) {
  switch (kernel) {
    case GemmKernel::kOneDnn:
      return "onednn";
    case GemmKernel::kAmx:
      return "amx";
    case GemmKernel::kVnni:
      return "vnni";
    case GemmKernel::kWidened:
      return "widened";
    case GemmKernel::kPortable:
      return "portable";
  }
  return "?";
}

absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                              std::string_view what, GemmKernel kernel) {
  const std::string name(what);
  if ((dtype != DType::kF32 && dtype != DType::kBF16 && !IsQuantised(dtype)) || n <= 0 || k <= 0) {
    return absl::InternalError(absl::StrCat("gemm weight ", name, ": no layout for ",
                                            std::string(DTypeName(dtype)), " ", n, "x", k));
  }
  return Allocate(arena, {.dtype = dtype, .n = n, .k = k}, what, kernel);
}

absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                              std::int64_t k, std::string_view what, GemmKernel kernel) {
  if (n <= 0 || k <= 0 || format.tail_rank < 0) {
    return absl::InternalError(absl::StrCat("gemm weight ", std::string(what), ": no 4-bit layout for ", n,
                                            "x", k, " with a tail of ", format.tail_rank));
  }
  return Allocate(arena, {.dtype = DType::kBF16, .n = n, .k = k, .four_bit = format}, what, kernel);
}

absl::Status PackGemmWeight(const GemmWeight& dst, const HostTensor& src, GemmKernel kernel) {
  if (dst.four_bit) {
    return absl::InternalError("gemm weight: one of 4 bits takes nothing but FourBitRows");
  }
  if (!(src.shape == Shape{dst.n, dst.k}) || !IsWeightSource(src.dtype)) {
    return absl::InternalError(absl::StrCat("gemm weight: source is ", std::string(DTypeName(src.dtype)), " ",
                                            src.shape.ToString(), ", expected a float (N, K) of ", dst.n, "x",
                                            dst.k));
  }
  if (kernel == GemmKernel::kOneDnn) return PackOneDnnWeight(dst, src);
  return PackByRows(dst, src, kernel);
}

absl::Status PackGemmWeight(const GemmWeight& dst, const FourBitRows& src, GemmKernel kernel) {
  OVI_RETURN_IF_ERROR(Validate(dst, src));
  ForEachRow(dst.n, PanelRows(kernel), [&](std::int64_t index) {
    const FourBitRow row = RowOf(src, index);
    if (kernel == GemmKernel::kAmx) {
      PackNarrowRow<AmxNarrowLayout>(dst, index, row);
    } else if (kernel == GemmKernel::kWidened) {
      PackNarrowRow<WidenedLayout>(dst, index, row);
    } else {
      PackPortableRow(dst, index, row);
    }
  });
  return absl::OkStatus();
}

absl::Status RunGemm(const Gemm& op, GemmKernel kernel) {
  if (op.a.shape[0] == 0) return absl::OkStatus();
  switch (kernel) {
    case GemmKernel::kOneDnn:
      return RunOneDnnGemm(op);
    case GemmKernel::kAmx:
      return IsNarrow(*op.weight) ? RunAmxNarrowGemm(op) : RunAmxGemm(op);
    case GemmKernel::kVnni:
      return RunVnniGemm(op);
    case GemmKernel::kWidened:
      return RunWidenedGemm(op);
    case GemmKernel::kPortable:
      return RunPortableGemm(op);
  }
  return absl::OkStatus();
}

absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                              std::string_view what) {
  return AllocateGemmWeight(arena, dtype, n, k, what, ChooseGemmKernel(dtype, CpuFeatures()));
}

absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                              std::int64_t k, std::string_view what) {
  return AllocateGemmWeight(arena, format, n, k, what, ChooseFourBitGemmKernel(CpuFeatures()));
}

absl::Status PackGemmWeight(const GemmWeight& dst, const HostTensor& src) {
  return PackGemmWeight(dst, src, KernelOf(dst));
}

absl::Status PackGemmWeight(const GemmWeight& dst, const FourBitRows& src) {
  return PackGemmWeight(dst, src, KernelOf(dst));
}

absl::Status RunGemm(const Gemm& op) {
  return RunGemm(op, KernelOf(*op.weight));
}

}  // namespace ovi::cpu
