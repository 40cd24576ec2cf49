// The contracts of the ops whose checks are a few lines each; gemm.cc, attention.cc and quantise.cc hold the
// longer ones.
#include "kernels/contract.h"
#include "kernels/op.h"

namespace ovi {

absl::Status Validate(const LayerNorm& op) {
  Contract contract("layer_norm");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() == 2, "x must be (T, C)");
  contract.Is(op.out, op.x.dtype, op.x.shape, "out");
  if (!contract.status().ok()) return contract.status();
  const Shape channels{op.x.shape[1]};
  contract.Require(op.weight.empty() == op.bias.empty(), "weight and bias come together");
  contract.Require(op.scale.empty() == op.shift.empty(), "scale and shift come together");
  if (!op.weight.empty()) contract.Is(op.weight, DType::kF32, channels, "weight");
  if (!op.bias.empty()) contract.Is(op.bias, DType::kF32, channels, "bias");
  if (!op.scale.empty()) contract.Is(op.scale, DType::kF32, channels, "scale");
  if (!op.shift.empty()) contract.Is(op.shift, DType::kF32, channels, "shift");
  return contract.status();
}

namespace {

void CheckRopeTable(Contract& contract, const Tensor& x, const Tensor& table, std::int64_t heads) {
  contract.Require(heads > 0 && x.shape[1] % heads == 0 && (x.shape[1] / heads) % 2 == 0,
                   "heads must divide C into even parts");
  contract.Require(table.dtype == DType::kF32 && table.shape.rank() == 3 && table.shape[2] == 2,
                   "table must be F32 (positions, P, 2)");
  if (!contract.status().ok()) return;
  contract.Require(table.shape[1] <= x.shape[1] / heads / 2, "table has more pairs than a head");
}

}  // namespace

absl::Status Validate(const RmsNorm& op) {
  Contract contract("rms_norm");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() == 2, "x must be (T, C)");
  contract.Is(op.out, op.x.dtype, op.x.shape, "out");
  if (!contract.status().ok()) return contract.status();
  contract.Is(op.weight, DType::kF32, {op.x.shape[1]}, "weight");
  if (!op.rope_table.empty()) CheckRopeTable(contract, op.x, op.rope_table, op.heads);
  return contract.status();
}

absl::Status Validate(const Rope& op) {
  Contract contract("rope");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() == 2, "x must be (T, C)");
  contract.Is(op.out, op.x.dtype, op.x.shape, "out");
  if (!contract.status().ok()) return contract.status();
  CheckRopeTable(contract, op.x, op.table, op.heads);
  return contract.status();
}

absl::Status Validate(const ChannelNorm& op) {
  Contract contract("channel_norm");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() >= 1, "x must have a channel axis");
  contract.Is(op.out, op.x.dtype, op.x.shape, "out");
  contract.Require(op.activation != Activation::kGeluTanh, "activation must be none or silu");
  if (!contract.status().ok()) return contract.status();
  if (op.rule == ChannelNormRule::kWan) {
    contract.Is(op.weight, DType::kF32, {op.x.shape[-1]}, "weight");
  } else {
    contract.Require(op.weight.empty(), "kMagnitude has no weight");
  }
  return contract.status();
}

Extent3 ConvOutExtent(const Conv& op) {
  Extent3 extent{};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const std::int64_t padded =
        op.in.shape[static_cast<int>(axis)] + op.pad_before[axis] + op.pad_after[axis];
    const std::int64_t span = op.dilation[axis] * (op.weight->kernel[axis] - 1) + 1;
    extent[axis] = padded < span ? 0 : (padded - span) / op.stride[axis] + 1;
  }
  return extent;
}

int ConvSpatialAxes(const Extent3& kernel) {
  return kernel[0] > 1 ? 3 : kernel[1] > 1 ? 2 : 1;
}

absl::Status Validate(const Conv& op) {
  Contract contract("conv");
  contract.Require(op.weight != nullptr, "weight is missing");
  contract.IsFloat(op.in, "in");
  contract.Require(op.in.shape.rank() == 4, "in must be (T, H, W, C)");
  if (!contract.status().ok()) return contract.status();
  contract.Require(op.in.shape[3] == op.weight->in_channels, "in has other channels than the weight");
  contract.Require(op.in.dtype == op.weight->dtype, "in has another dtype than the weight");
  for (std::size_t axis = 0; axis < 3; ++axis) {
    contract.Require(
        op.stride[axis] >= 1 && op.dilation[axis] >= 1 && op.pad_before[axis] >= 0 && op.pad_after[axis] >= 0,
        "strides and dilations are >= 1, pads >= 0");
  }
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(3 - ConvSpatialAxes(op.weight->kernel));
       ++axis) {
    contract.Require(op.stride[axis] == 1 && op.pad_before[axis] == 0 && op.pad_after[axis] == 0,
                     "axes of the batch take stride 1 and no padding");
  }
  if (!contract.status().ok()) return contract.status();
  const Extent3 extent = ConvOutExtent(op);
  const Shape out{extent[0], extent[1], extent[2], op.weight->out_channels};
  contract.Is(op.out, op.in.dtype, out, "out");
  if (!op.bias.empty()) contract.Is(op.bias, DType::kF32, {op.weight->out_channels}, "bias");
  if (!op.residual.empty()) {
    contract.Is(op.residual, op.in.dtype, out, "residual");
    contract.Require(op.activation == Activation::kNone, "residual and activation exclude each other");
  }
  return contract.status();
}

absl::Status Validate(const ConvTranspose& op) {
  Contract contract("conv_transpose");
  contract.Require(op.weight != nullptr, "weight is missing");
  contract.IsFloat(op.in, "in");
  contract.Require(op.in.shape.rank() == 2, "in must be (L, C)");
  contract.Require(op.stride >= 1 && op.pad >= 0, "stride >= 1, pad >= 0");
  if (!contract.status().ok()) return contract.status();
  contract.Require(op.in.shape[1] == op.weight->in_channels, "in has other channels than the weight");
  contract.Require(op.in.dtype == op.weight->dtype, "in has another dtype than the weight");
  const std::int64_t length =
      op.in.shape[0] == 0 ? 0 : (op.in.shape[0] - 1) * op.stride + op.weight->kernel - 2 * op.pad;
  contract.Is(op.out, op.in.dtype, {length, op.weight->out_channels}, "out");
  if (!op.bias.empty()) contract.Is(op.bias, DType::kF32, {op.weight->out_channels}, "bias");
  return contract.status();
}

absl::Status Validate(const Elementwise& op) {
  Contract contract("elementwise");
  const bool binary = op.kind == ElementwiseKind::kAxpby || op.kind == ElementwiseKind::kMul ||
                      op.kind == ElementwiseKind::kSiluMul || op.kind == ElementwiseKind::kGeluTanhMul;
  contract.IsFloat(op.a, "a");
  contract.Require(op.a.elements() == op.out.elements(), "out has another size than a");
  if (op.kind == ElementwiseKind::kUnitToU8) {
    contract.Require(op.a.dtype == DType::kF32 && op.out.dtype == DType::kU8, "u8 comes from F32");
  } else {
    contract.IsFloat(op.out, "out");
  }
  contract.Require(binary == !op.b.empty() || op.a.elements() == 0,
                   "b belongs to binary kinds and to them only");
  if (binary && contract.status().ok() && op.a.elements() > 0) {
    contract.IsFloat(op.b, "b");
    contract.Require(op.b.elements() > 0 && op.a.elements() % op.b.elements() == 0,
                     "b's size must divide a's");
  }
  return contract.status();
}

absl::Status Validate(const Fill& op) {
  Contract contract("fill");
  contract.IsFloat(op.out, "out");
  return contract.status();
}

absl::Status Validate(const Permute& op) {
  Contract contract("permute");
  const int rank = op.in.shape.rank();
  contract.Require(op.out.shape.rank() == rank && op.out.dtype == op.in.dtype,
                   "out must have in's rank and dtype");
  if (!contract.status().ok()) return contract.status();
  unsigned seen = 0;
  for (int axis = 0; axis < rank; ++axis) {
    const int from = op.axes[static_cast<std::size_t>(axis)];
    contract.Require(from >= 0 && from < rank && (seen & (1u << from)) == 0, "axes must be a permutation");
    if (!contract.status().ok()) return contract.status();
    seen |= 1u << from;
    contract.Require(op.out.shape[axis] == op.in.shape[from], "out does not have the permuted extents");
  }
  return contract.status();
}

absl::Status Validate(const CopyColumns& op) {
  Contract contract("copy_columns");
  contract.Require(op.in.shape.rank() == 2 && op.out.shape.rank() == 2, "in and out must be (T, C)");
  if (!contract.status().ok()) return contract.status();
  contract.Require(op.in.dtype == op.out.dtype, "in and out must have one dtype");
  contract.Require(op.in.shape[0] == op.out.shape[0], "in and out must have as many rows");
  contract.Require(op.columns >= 0 && op.in_begin >= 0 && op.in_begin + op.columns <= op.in.shape[1],
                   "the band must lie in in");
  contract.Require(op.columns >= 0 && op.out_begin >= 0 && op.out_begin + op.columns <= op.out.shape[1],
                   "the band must lie in out");
  return contract.status();
}

absl::Status Validate(const MergeAttention& op) {
  Contract contract("merge_attention");
  contract.IsFloat(op.out, "out");
  contract.Require(op.parts.dtype == DType::kF32, "parts must be F32");
  contract.Require(op.parts.shape.rank() == 3 && op.parts.shape[0] >= 1, "parts must be (P, T, H*D), P >= 1");
  contract.Require(op.lse.dtype == DType::kF32 && op.lse.shape.rank() == 3, "lse must be F32 (P, H, T)");
  if (!contract.status().ok()) return contract.status();
  const std::int64_t rows = op.parts.shape[1];
  const std::int64_t heads = op.lse.shape[1];
  contract.Require(heads >= 1 && op.parts.shape[2] % heads == 0, "lse's heads must divide the columns");
  contract.Is(op.lse, DType::kF32, {op.parts.shape[0], heads, rows}, "lse");
  contract.Is(op.out, op.out.dtype, {rows, op.parts.shape[2]}, "out");
  return contract.status();
}

absl::Status Validate(const Upsample& op) {
  Contract contract("upsample");
  contract.IsFloat(op.in, "in");
  contract.Require(op.in.shape.rank() == 4 && op.out.shape.rank() == 4 && op.in.dtype == op.out.dtype,
                   "in and out must be (F, H, W, C) of one dtype");
  if (!contract.status().ok() || op.in.elements() == 0) return contract.status();
  contract.Require(op.in.shape[0] == op.out.shape[0] && op.in.shape[3] == op.out.shape[3] &&
                       op.out.shape[1] % op.in.shape[1] == 0 && op.out.shape[2] % op.in.shape[2] == 0,
                   "rows and columns must grow by whole factors");
  return contract.status();
}

absl::Status Validate(const UpShortcut& op) {
  Contract contract("up_shortcut");
  contract.IsFloat(op.in, "in");
  contract.Require(op.in.shape.rank() == 4 && op.x.shape.rank() == 4 && op.in.dtype == op.x.dtype,
                   "in and x must be (T, H, W, C) of one dtype");
  contract.Require(op.time_factor >= 1 && op.drop >= 0 && op.drop < op.time_factor,
                   "0 <= drop < time_factor");
  if (!contract.status().ok()) return contract.status();
  contract.Is(
      op.x, op.in.dtype,
      {op.in.shape[0] * op.time_factor - op.drop, op.in.shape[1] * 2, op.in.shape[2] * 2, op.x.shape[3]},
      "x");
  contract.Require(op.in.shape[3] > 0 && (op.x.shape[3] * op.time_factor * 4) % op.in.shape[3] == 0,
                   "Ci must divide Co * ft * 4");
  return contract.status();
}

absl::Status Validate(const DownShortcut& op) {
  Contract contract("down_shortcut");
  contract.IsFloat(op.in, "in");
  contract.Require(op.in.shape.rank() == 4 && op.x.shape.rank() == 4 && op.in.dtype == op.x.dtype,
                   "in and x must be (T, H, W, C) of one dtype");
  contract.Require(op.time_factor >= 1 && op.space_factor >= 1, "factors are >= 1");
  if (!contract.status().ok()) return contract.status();
  const std::int64_t frames = (op.in.shape[0] + op.time_factor - 1) / op.time_factor;
  contract.Require(op.in.shape[1] % op.space_factor == 0 && op.in.shape[2] % op.space_factor == 0,
                   "rows and columns must divide by the factor");
  contract.Is(op.x, op.in.dtype,
              {frames, op.in.shape[1] / op.space_factor, op.in.shape[2] / op.space_factor, op.x.shape[3]},
              "x");
  const std::int64_t values = op.in.shape[3] * op.time_factor * op.space_factor * op.space_factor;
  contract.Require(op.x.shape[3] > 0 && values % op.x.shape[3] == 0, "Co must divide Ci * ft * fs * fs");
  return contract.status();
}

absl::Status Validate(const AntiAliasedSnake& op) {
  Contract contract("anti_aliased_snake");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() == 2, "x must be (L, C)");
  contract.Is(op.out, op.x.dtype, op.x.shape, "out");
  contract.Require(op.out.data != op.x.data || op.x.elements() == 0, "out may not be x");
  if (!contract.status().ok()) return contract.status();
  const Shape channels{op.x.shape[1]};
  contract.Is(op.alpha, DType::kF32, channels, "alpha");
  contract.Is(op.inv_beta, DType::kF32, channels, "inv_beta");
  contract.Is(op.filter_up, DType::kF32, {12}, "filter_up");
  contract.Is(op.filter_down, DType::kF32, {12}, "filter_down");
  return contract.status();
}

absl::Status Validate(const Op& op) {
  return std::visit([](const auto& concrete) { return Validate(concrete); }, op);
}

namespace {

struct NameOf {
  std::string_view operator()(const Gemm&) const { return "gemm"; }
  std::string_view operator()(const Attention&) const { return "attention"; }
  std::string_view operator()(const LayerNorm&) const { return "layer_norm"; }
  std::string_view operator()(const RmsNorm&) const { return "rms_norm"; }
  std::string_view operator()(const Rope&) const { return "rope"; }
  std::string_view operator()(const ChannelNorm&) const { return "channel_norm"; }
  std::string_view operator()(const Conv&) const { return "conv"; }
  std::string_view operator()(const ConvTranspose&) const { return "conv_transpose"; }
  std::string_view operator()(const Elementwise&) const { return "elementwise"; }
  std::string_view operator()(const Fill&) const { return "fill"; }
  std::string_view operator()(const Permute&) const { return "permute"; }
  std::string_view operator()(const CopyColumns&) const { return "copy_columns"; }
  std::string_view operator()(const MergeAttention&) const { return "merge_attention"; }
  std::string_view operator()(const Upsample&) const { return "upsample"; }
  std::string_view operator()(const UpShortcut&) const { return "up_shortcut"; }
  std::string_view operator()(const DownShortcut&) const { return "down_shortcut"; }
  std::string_view operator()(const AntiAliasedSnake&) const { return "anti_aliased_snake"; }
  std::string_view operator()(const QuantiseRows&) const { return "quantise_rows"; }
};

}  // namespace

std::string_view OpName(const Op& op) {
  return std::visit(NameOf{}, op);
}

}  // namespace ovi
