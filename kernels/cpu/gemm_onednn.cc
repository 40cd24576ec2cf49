#include "kernels/cpu/gemm_onednn.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_rows.h"

namespace ovi::cpu {
namespace {

using dnnl::memory;

// Rows of a call: enough for oneDNN's blocking, few enough that the f32 sums of a layer stay near the cache.
// Also the M that the packed layout is chosen for; the layout serves every smaller M
// (tests/kernels/gemm_test.cc).
constexpr std::int64_t kChunk = 256;

struct Matmul {
  dnnl::matmul::primitive_desc desc;
  dnnl::matmul primitive;
};

dnnl::matmul::primitive_desc MakeDesc(std::int64_t m, DType type, DType out, bool bias,
                                      const memory::desc& weights) {
  const std::int64_t k = weights.dims()[0];
  const std::int64_t n = weights.dims()[1];
  const memory::desc a({m, k}, DnnlType(type), memory::format_tag::ab);
  const memory::desc y({m, n}, DnnlType(out), memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(
      dnnl::scratchpad_mode::user);  // the library's own one is not safe across threads
  if (!bias) return {dnnl::matmul::desc(a, weights, y), attributes, DnnlEngine()};
  const memory::desc b({1, n}, memory::data_type::f32, memory::format_tag::ab);
  return {dnnl::matmul::desc(a, weights, b, y), attributes, DnnlEngine()};
}

// The layout of an (n, k) weight: what oneDNN picks for a full chunk. A function of its arguments and the
// processor.
memory::desc PackedDesc(DType dtype, std::int64_t n, std::int64_t k) {
  static PrimitiveCache<memory::desc> cache(256);
  return *cache.Get({static_cast<std::int64_t>(dtype), n, k}, [&] {
    const memory::desc any({k, n}, DnnlType(dtype), memory::format_tag::any);
    return MakeDesc(kChunk, dtype, DType::kF32, false, any).weights_desc();
  });
}

std::shared_ptr<const Matmul> PreparedMatmul(std::int64_t m, DType type, DType out, bool bias, std::int64_t n,
                                             std::int64_t k) {
  static PrimitiveCache<Matmul> cache(128);
  const memory::desc weights = PackedDesc(type, n, k);
  return cache.Get({m, n, k, static_cast<std::int64_t>(type), static_cast<std::int64_t>(out), bias}, [&] {
    Matmul matmul;
    matmul.desc = MakeDesc(m, type, out, bias, weights);
    matmul.primitive = dnnl::matmul(matmul.desc);
    return matmul;
  });
}

absl::Status Execute(const Matmul& matmul, const Gemm& op, const void* a, void* y) {
  thread_local Scratch library;
  std::byte* scratch =
      library.Reserve(static_cast<std::int64_t>(matmul.desc.scratchpad_desc().get_size()) + 1);
  if (scratch == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
  const dnnl::engine& engine = DnnlEngine();
  dnnl::stream stream(engine);
  // oneDNN reads its inputs only, but takes them as void*.
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, memory(matmul.desc.src_desc(), engine, const_cast<void*>(a))},
      {DNNL_ARG_WEIGHTS, memory(matmul.desc.weights_desc(), engine, op.weight->storage.data)},
      {DNNL_ARG_DST, memory(matmul.desc.dst_desc(), engine, y)},
      {DNNL_ARG_SCRATCHPAD, memory(matmul.desc.scratchpad_desc(), engine, scratch)}};
  const memory::desc bias = matmul.desc.bias_desc();
  if (bias.get_size() > 0) arguments.insert({DNNL_ARG_BIAS, memory(bias, engine, op.bias.data)});
  matmul.primitive.execute(stream, arguments);
  stream.wait();
  return absl::OkStatus();
}

template <typename T>
void PackConverted(const GemmWeight& dst, const HostTensor& src) {
  // Whole blocks of the packed layout at a time: no layout of oneDNN 2.6 blocks more than 64 columns.
  constexpr std::int64_t kRows = 256;
  const memory::desc packed = PackedDesc(dst.dtype, dst.n, dst.k);
  memory target(packed, DnnlEngine(), dst.storage.data);
  std::vector<T> rows(static_cast<std::size_t>(kRows * dst.k));
  dnnl::stream stream(DnnlEngine());
  for (std::int64_t begin = 0; begin < dst.n; begin += kRows) {
    const std::int64_t count = std::min(kRows, dst.n - begin);
    ParallelFor(count, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t row = from; row < to; ++row)
        ConvertWeightRow(src, begin + row, rows.data() + row * dst.k);
    });
    const memory source(memory::desc({dst.k, count}, DnnlType(dst.dtype), memory::dims{1, dst.k}),
                        DnnlEngine(), rows.data());
    memory part(packed.submemory_desc({dst.k, count}, {0, begin}), DnnlEngine(), dst.storage.data);
    dnnl::reorder(source, part).execute(stream, const_cast<memory&>(source), part);
    stream.wait();
  }
}

}  // namespace

absl::StatusOr<std::int64_t> OneDnnGemmBytes(DType dtype, std::int64_t n, std::int64_t k) {
  std::int64_t bytes = 0;
  const absl::Status status = CatchDnnl("gemm weight", [&] {
    bytes = static_cast<std::int64_t>(PackedDesc(dtype, n, k).get_size());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return bytes;
}

absl::Status PackOneDnnWeight(const GemmWeight& dst, const HostTensor& src) {
  return CatchDnnl("gemm weight", [&] {
    if (dst.dtype == DType::kBF16) {
      PackConverted<BFloat16>(dst, src);
    } else {
      PackConverted<float>(dst, src);
    }
    return absl::OkStatus();
  });
}

absl::Status RunOneDnnGemm(const Gemm& op) {
  const std::int64_t m = op.a.shape[0];
  const std::int64_t n = op.weight->n;
  const std::int64_t k = op.weight->k;
  const DType type = op.weight->dtype;
  // With nothing after the bias, oneDNN rounds and writes out by itself.
  const bool direct = op.activation == Activation::kNone && op.residual.empty() &&
                      (op.out.dtype == DType::kF32 || op.out.dtype == type);
  thread_local Scratch scratch;
  float* sums = nullptr;
  if (!direct) {
    sums = reinterpret_cast<float*>(scratch.Reserve(std::min(m, kChunk) * n * std::int64_t{sizeof(float)}));
    if (sums == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
  }
  return CatchDnnl("gemm", [&]() -> absl::Status {
    for (std::int64_t row = 0; row < m; row += kChunk) {
      const std::int64_t rows = std::min(kChunk, m - row);
      const std::byte* a = op.a.data + ElementOffset(row, k, 0) * ElementBytes(type);
      if (direct) {
        const auto matmul = PreparedMatmul(rows, type, op.out.dtype, !op.bias.empty(), n, k);
        std::byte* y = op.out.data + ElementOffset(row, n, 0) * ElementBytes(op.out.dtype);
        if (absl::Status status = Execute(*matmul, op, a, y); !status.ok()) return status;
        continue;
      }
      const auto matmul = PreparedMatmul(rows, type, DType::kF32, false, n, k);
      if (absl::Status status = Execute(*matmul, op, a, sums); !status.ok()) return status;
      ParallelFor(rows, 8, [&](std::int64_t begin, std::int64_t end) {
        FinishGemm(op, {row + begin, end - begin, 0, n}, sums + begin * n, n);
      });
    }
    return absl::OkStatus();
  });
}

}  // namespace ovi::cpu
