#include "kernels/cpu/conv.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/weight_rows.h"

namespace ovi::cpu {
namespace {

using dnnl::memory;

// oneDNN computes bf16 only with AVX-512; elsewhere weights of nominal bf16 are stored and used as f32.
DType StoredType(DType dtype) {
  return dtype == DType::kBF16 && CpuFeatures().avx512 ? DType::kBF16 : DType::kF32;
}

// All that a oneDNN convolution is made from. Also the key of its cache.
struct Geometry {
  DType dtype;
  int axes;  // 1, 2 or 3, the last of (time, row, column)
  std::int64_t batch, in_channels, out_channels;
  Extent3 in, out, kernel, stride, pad_before, pad_after, dilation;
  bool bias, residual;

  std::vector<std::int64_t> Key() const {
    std::vector<std::int64_t> key = {
        static_cast<std::int64_t>(dtype), axes, batch, in_channels, out_channels, bias, residual};
    for (const Extent3* extent : {&in, &out, &kernel, &stride, &pad_before, &pad_after, &dilation}) {
      key.insert(key.end(), extent->begin(), extent->end());
    }
    return key;
  }
  memory::dims Spatial(const Extent3& extent) const { return {extent.end() - axes, extent.end()}; }
  memory::dims Tensor(std::int64_t channels, const Extent3& extent) const {
    memory::dims dims = {batch, channels};
    dims.insert(dims.end(), extent.end() - axes, extent.end());
    return dims;
  }
  memory::dims Weights() const {
    memory::dims dims = {out_channels, in_channels};
    dims.insert(dims.end(), kernel.end() - axes, kernel.end());
    return dims;
  }
};

memory::format_tag ChannelsLast(int axes) {
  return axes == 3   ? memory::format_tag::ndhwc
         : axes == 2 ? memory::format_tag::nhwc
                     : memory::format_tag::nwc;
}

// oneDNN's batch-reduce kernels sum the input channels in blocks, of a size that they choose by the picture's
// extents and the number of threads: with 160 channels, 22 rows at once and 11 + 11 rows differ in the last
// bits. Its other kernels sum in one order: blocks of 16 (or 8) channels, then the kernel's taps, then the
// channels of the block. They take 5 % less to 27 % more time over the real video autoencoder's layers (56 %
// over its small head), 14 % more over all of them by their share of the work; on mini-ovi's, of 16 to 64
// channels, no more.
bool SumsDependOnExtents(const dnnl::convolution_forward::primitive_desc& desc) {
  return std::string_view(desc.impl_info_str()).starts_with("brg");
}

// oneDNN 2.6.3's AMX convolutions jump through a kernel that they never made: at the real audio patch
// embedding (bf16, 7 taps, 20 to 3072 to 8192 channels, 157 positions; an Intel Xeon beside an H100,
// 2026-11-27).
bool MayCrash(const dnnl::convolution_forward::primitive_desc& desc) {
  return std::string_view(desc.impl_info_str()).find("amx") != std::string_view::npos;
}

// The batch-reduce kernels prepare every output position of a row: a sequence of 80,384 samples with 24
// channels and 11 taps takes 0.5 s and 275 MB before it runs for 15 ms, and a vocoder has dozens of those.
// The others, ready in a few ms, run at 0.5 to 1.4 times their speed there. From 128 channels on the
// sequences are short.
bool IsLongAndNarrow(const Geometry& g) {
  return g.axes == 1 && g.out_channels < 128;
}

dnnl::convolution_forward::primitive_desc MakeConv(const Geometry& g, const memory::desc& weights) {
  const memory::data_type type = DnnlType(g.dtype);
  const memory::desc src(g.Tensor(g.in_channels, g.in), type, ChannelsLast(g.axes));
  const memory::desc dst(g.Tensor(g.out_channels, g.out), type, ChannelsLast(g.axes));
  const memory::desc bias =
      g.bias ? memory::desc({g.out_channels}, memory::data_type::f32, memory::format_tag::a) : memory::desc();
  memory::dims dilates = g.Spatial(g.dilation);
  for (auto& dilate : dilates) dilate -= 1;  // oneDNN counts the gaps
  dnnl::primitive_attr attributes;
  if (g.residual) {
    dnnl::post_ops post;
    post.append_sum(1.0f);
    attributes.set_post_ops(post);
  }
  const dnnl::convolution_forward::desc desc(
      dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights, bias, dst,
      g.Spatial(g.stride), dilates, g.Spatial(g.pad_before), g.Spatial(g.pad_after));
  dnnl::convolution_forward::primitive_desc made(desc, attributes, DnnlEngine());
  const bool no_batch_reduce = g.dtype == DType::kF32 || IsLongAndNarrow(g);
  // Here and not where it is used: next_impl reads `desc` again.
  while ((MayCrash(made) || (no_batch_reduce && SumsDependOnExtents(made))) && made.next_impl()) {
  }
  return made;
}

memory::desc AnyWeights(const Geometry& g) {
  return {g.Weights(), DnnlType(g.dtype), memory::format_tag::any};
}

// The layout a weight is stored in: the one oneDNN picks for a middle-sized input.
memory::desc PackedLayout(DType stored, std::int64_t out_channels, std::int64_t in_channels,
                          const Extent3& kernel) {
  Geometry g{};
  g.dtype = stored;
  g.axes = ConvSpatialAxes(kernel);
  g.batch = 1;
  g.in_channels = in_channels;
  g.out_channels = out_channels;
  g.kernel = kernel;
  g.stride = {1, 1, 1};
  g.dilation = {1, 1, 1};
  g.bias = true;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    g.out[axis] = 32;
    g.in[axis] = 32 + kernel[axis] - 1;
  }
  return MakeConv(g, AnyWeights(g)).weights_desc();
}

// A prepared convolution. Where oneDNN wants the weight in another layout for this input than it is stored
// in, `reorder` brings it there on every call: slower, never wrong.
struct PreparedConv {
  dnnl::convolution_forward::primitive_desc desc;
  dnnl::convolution_forward conv;
  std::optional<dnnl::reorder> reorder;
};

// A layout that does not suit an input is refused by some of oneDNN's kernels and taken by its plain
// reference loops, which are forty times slower than a reorder and a proper kernel.
bool RunsWell(const dnnl::convolution_forward::primitive_desc& desc) {
  return !std::string_view(desc.impl_info_str()).starts_with("ref");
}

// Without a value where oneDNN has nothing, or nothing but its reference loops, for this layout.
dnnl::convolution_forward::primitive_desc TryConv(const Geometry& g, const memory::desc& weights) {
  try {
    dnnl::convolution_forward::primitive_desc desc = MakeConv(g, weights);
    if (RunsWell(desc)) return desc;
  } catch (const dnnl::error&) {  // another layout may do
  }
  return {};
}

PreparedConv Prepare(const Geometry& g, const memory::desc& stored) {
  PreparedConv prepared;
  prepared.desc = TryConv(g, stored);
  // Layouts other than its own make brgconv refuse at once; with `any` it would prepare itself first.
  if (!prepared.desc && IsLongAndNarrow(g)) {
    prepared.desc = TryConv(g, {g.Weights(), DnnlType(g.dtype), memory::format_tag::wio});
  }
  if (!prepared.desc) prepared.desc = MakeConv(g, AnyWeights(g));
  if (prepared.desc.weights_desc() != stored) {
    prepared.reorder.emplace(memory(stored, DnnlEngine(), nullptr),
                             memory(prepared.desc.weights_desc(), DnnlEngine(), nullptr));
  }
  prepared.conv = dnnl::convolution_forward(prepared.desc);
  return prepared;
}

memory::desc CachedLayout(DType stored, std::int64_t out_channels, std::int64_t in_channels,
                          const Extent3& kernel) {
  static PrimitiveCache<memory::desc> cache(1024);
  return *cache.Get(
      {static_cast<std::int64_t>(stored), out_channels, in_channels, kernel[0], kernel[1], kernel[2]},
      [&] { return PackedLayout(stored, out_channels, in_channels, kernel); });
}

Geometry GeometryOf(const Conv& op, DType stored) {
  const ConvWeight& weight = *op.weight;
  Geometry g{};
  g.dtype = stored;
  g.axes = ConvSpatialAxes(weight.kernel);
  g.in_channels = weight.in_channels;
  g.out_channels = weight.out_channels;
  g.kernel = weight.kernel;
  g.in = {op.in.shape[0], op.in.shape[1], op.in.shape[2]};
  g.out = ConvOutExtent(op);
  g.stride = op.stride;
  g.pad_before = op.pad_before;
  g.pad_after = op.pad_after;
  g.dilation = op.dilation;
  g.bias = !op.bias.empty();
  g.residual = !op.residual.empty();
  g.batch = 1;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(3 - g.axes); ++axis) g.batch *= g.in[axis];
  return g;
}

// `tensor` as f32, converted into `storage` where it is not.
Tensor AsF32(const Tensor& tensor, std::vector<float>& storage) {
  if (tensor.dtype == DType::kF32) return tensor;
  storage.resize(static_cast<std::size_t>(tensor.elements()));
  Tensor wide{reinterpret_cast<std::byte*>(storage.data()), DType::kF32, tensor.shape};
  RunElementwise({.kind = ElementwiseKind::kCast, .a = tensor, .out = wide});
  return wide;
}

absl::Status Execute(const Conv& op) {
  const Geometry g = GeometryOf(op, op.in.dtype);
  return CatchDnnl("conv", [&] {
    static PrimitiveCache<PreparedConv> cache(512);
    const memory::desc stored = CachedLayout(g.dtype, g.out_channels, g.in_channels, g.kernel);
    const auto prepared = cache.Get(g.Key(), [&] { return Prepare(g, stored); });
    dnnl::stream stream(DnnlEngine());
    memory weights(stored, DnnlEngine(), op.weight->storage.data);
    if (prepared->reorder) {
      memory wanted(prepared->desc.weights_desc(), DnnlEngine());
      prepared->reorder->execute(stream, weights, wanted);
      weights = wanted;
    }
    if (g.residual && op.residual.data != op.out.data) {
      std::memcpy(op.out.data, op.residual.data, static_cast<std::size_t>(op.out.bytes()));
    }
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, memory(prepared->desc.src_desc(), DnnlEngine(), op.in.data)},
        {DNNL_ARG_WEIGHTS, weights},
        {DNNL_ARG_DST, memory(prepared->desc.dst_desc(), DnnlEngine(), op.out.data)}};
    if (g.bias)
      arguments.emplace(DNNL_ARG_BIAS, memory(prepared->desc.bias_desc(), DnnlEngine(), op.bias.data));
    prepared->conv.execute(stream, arguments);
    stream.wait();
    return absl::OkStatus();
  });
}

void Activate(Activation activation, const Tensor& out) {
  if (activation == Activation::kNone) return;
  Elementwise op{.kind = ElementwiseKind::kSilu, .a = out, .out = out};
  RunElementwise(op);
}

// The transposed convolution's weight as oneDNN sees it: (Co, Ci, k) over the stored (Ci, Co, k).
memory::desc TransposedHostLayout(const ConvTransposeWeight& w) {
  return {{w.out_channels, w.in_channels, w.kernel},
          memory::data_type::f32,
          memory::dims{w.kernel, w.out_channels * w.kernel, 1}};
}

dnnl::deconvolution_forward::primitive_desc MakeDeconv(DType stored, std::int64_t length,
                                                       const ConvTransposeWeight& w, std::int64_t stride,
                                                       std::int64_t pad, bool bias,
                                                       const memory::desc& weights) {
  const memory::data_type type = DnnlType(stored);
  const std::int64_t out_length = (length - 1) * stride + w.kernel - 2 * pad;
  const memory::desc src({1, w.in_channels, length}, type, memory::format_tag::nwc);
  const memory::desc dst({1, w.out_channels, out_length}, type, memory::format_tag::nwc);
  const memory::desc bias_desc =
      bias ? memory::desc({w.out_channels}, memory::data_type::f32, memory::format_tag::a) : memory::desc();
  const dnnl::deconvolution_forward::desc desc(dnnl::prop_kind::forward_inference,
                                               dnnl::algorithm::deconvolution_direct, src, weights, bias_desc,
                                               dst, {stride}, {pad}, {pad});
  return {desc, DnnlEngine()};
}

// Weights of transposed convolutions are stored plainly and reordered on every call: the vocoder has six of
// them and runs once a clip.
memory::desc DeconvStoredLayout(DType stored, const ConvTransposeWeight& w) {
  return {{w.out_channels, w.in_channels, w.kernel}, DnnlType(stored), memory::format_tag::owi};
}

absl::Status ExecuteTranspose(const ConvTranspose& op) {
  return CatchDnnl("conv_transpose", [&] {
    const ConvTransposeWeight& w = *op.weight;
    const DType stored_type = op.in.dtype;
    const memory::desc any({w.out_channels, w.in_channels, w.kernel}, DnnlType(stored_type),
                           memory::format_tag::any);
    const auto desc = MakeDeconv(stored_type, op.in.shape[0], w, op.stride, op.pad, !op.bias.empty(), any);
    dnnl::stream stream(DnnlEngine());
    memory weights(DeconvStoredLayout(stored_type, w), DnnlEngine(), w.storage.data);
    memory wanted(desc.weights_desc(), DnnlEngine());
    dnnl::reorder(weights, wanted).execute(stream, weights, wanted);
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, memory(desc.src_desc(), DnnlEngine(), op.in.data)},
        {DNNL_ARG_WEIGHTS, wanted},
        {DNNL_ARG_DST, memory(desc.dst_desc(), DnnlEngine(), op.out.data)}};
    if (!op.bias.empty())
      arguments.emplace(DNNL_ARG_BIAS, memory(desc.bias_desc(), DnnlEngine(), op.bias.data));
    dnnl::deconvolution_forward(desc).execute(stream, arguments);
    stream.wait();
    return absl::OkStatus();
  });
}

// `src` in `dst`'s layout, converted on the way. oneDNN knows F32, BF16 and F16 sources; the weight loader
// widens others.
absl::Status Reorder(const memory::desc& from, const void* src, const memory::desc& to,
                     const Tensor& storage) {
  return CatchDnnl("weight upload", [&] {
    dnnl::stream stream(DnnlEngine());
    memory source(from, DnnlEngine(), const_cast<void*>(src));
    memory target(to, DnnlEngine(), storage.data);
    dnnl::reorder(source, target).execute(stream, source, target);
    stream.wait();
    return absl::OkStatus();
  });
}

// Any float dtype widened to f32 on the host.
std::vector<float> Widen(const HostTensor& src) {
  std::vector<float> values(static_cast<std::size_t>(src.elements()));
  ConvertWeightRow({src.data, src.dtype, {1, src.elements()}}, 0, values.data());
  return values;
}

}  // namespace

absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                              std::int64_t in_channels, const Extent3& kernel,
                                              std::string_view what) {
  ConvWeight weight{
      .dtype = dtype, .out_channels = out_channels, .in_channels = in_channels, .kernel = kernel};
  std::int64_t bytes = 0;
  OVI_RETURN_IF_ERROR(CatchDnnl("conv weight", [&] {
    bytes = static_cast<std::int64_t>(
        CachedLayout(StoredType(dtype), out_channels, in_channels, kernel).get_size());
    return absl::OkStatus();
  }));
  OVI_ASSIGN_OR_RETURN(weight.storage, arena.Allocate(DType::kU8, {bytes}, what));
  return weight;
}

absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                std::int64_t in_channels,
                                                                std::int64_t out_channels,
                                                                std::int64_t kernel, std::string_view what) {
  ConvTransposeWeight weight{
      .dtype = dtype, .in_channels = in_channels, .out_channels = out_channels, .kernel = kernel};
  const Shape shape{in_channels * out_channels * kernel * ElementBytes(StoredType(dtype))};
  OVI_ASSIGN_OR_RETURN(weight.storage, arena.Allocate(DType::kU8, shape, what));
  return weight;
}

absl::Status PackConvWeight(const ConvWeight& dst, const HostTensor& src) {
  const std::vector<float> values = Widen(src);
  return CatchDnnl("conv weight", [&] {
    const memory::desc stored =
        CachedLayout(StoredType(dst.dtype), dst.out_channels, dst.in_channels, dst.kernel);
    const int axes = ConvSpatialAxes(dst.kernel);
    memory::dims dims = {dst.out_channels, dst.in_channels};
    dims.insert(dims.end(), dst.kernel.end() - axes, dst.kernel.end());
    const memory::format_tag plain = axes == 3   ? memory::format_tag::oidhw
                                     : axes == 2 ? memory::format_tag::oihw
                                                 : memory::format_tag::oiw;
    return Reorder({dims, memory::data_type::f32, plain}, values.data(), stored, dst.storage);
  });
}

absl::Status PackConvTransposeWeight(const ConvTransposeWeight& dst, const HostTensor& src) {
  const std::vector<float> values = Widen(src);
  return Reorder(TransposedHostLayout(dst), values.data(), DeconvStoredLayout(StoredType(dst.dtype), dst),
                 dst.storage);
}

absl::Status RunConv(const Conv& op) {
  if (op.out.elements() == 0) return absl::OkStatus();
  if (op.in.dtype == StoredType(op.in.dtype)) {
    OVI_RETURN_IF_ERROR(Execute(op));
    Activate(op.activation, op.out);
    return absl::OkStatus();
  }
  // bf16 without hardware for it: computed in f32, rounded at the contract's points.
  std::vector<float> in_storage;
  std::vector<float> residual_storage;
  std::vector<float> out_storage(static_cast<std::size_t>(op.out.elements()));
  Conv wide = op;
  wide.in = AsF32(op.in, in_storage);
  if (!op.residual.empty()) wide.residual = AsF32(op.residual, residual_storage);
  wide.out = {reinterpret_cast<std::byte*>(out_storage.data()), DType::kF32, op.out.shape};
  OVI_RETURN_IF_ERROR(Execute(wide));
  RunElementwise({.kind = ElementwiseKind::kCast, .a = wide.out, .out = op.out});
  Activate(op.activation, op.out);
  return absl::OkStatus();
}

absl::Status RunConvTranspose(const ConvTranspose& op) {
  if (op.out.elements() == 0) return absl::OkStatus();
  if (op.in.dtype == StoredType(op.in.dtype)) return ExecuteTranspose(op);
  std::vector<float> in_storage;
  std::vector<float> out_storage(static_cast<std::size_t>(op.out.elements()));
  ConvTranspose wide = op;
  wide.in = AsF32(op.in, in_storage);
  wide.out = {reinterpret_cast<std::byte*>(out_storage.data()), DType::kF32, op.out.shape};
  OVI_RETURN_IF_ERROR(ExecuteTranspose(wide));
  RunElementwise({.kind = ElementwiseKind::kCast, .a = wide.out, .out = op.out});
  return absl::OkStatus();
}

}  // namespace ovi::cpu
