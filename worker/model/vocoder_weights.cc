// Which tensors a vocoder has, and how they become device parameters.
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/model/vocoder.h"

namespace ovi {
namespace {

constexpr std::int64_t kOuterKernel = 7;  // of conv_pre and conv_post
constexpr std::int64_t kFilterTaps = 12;

std::string LengthName(const std::string& prefix, WeightNormNames names) {
  return prefix + (names == WeightNormNames::kGV ? ".weight_g" : ".parametrizations.weight.original0");
}

std::string DirectionName(const std::string& prefix, WeightNormNames names) {
  return prefix + (names == WeightNormNames::kGV ? ".weight_v" : ".parametrizations.weight.original1");
}

std::size_t Stages(const VocoderConfig& config) {
  return config.upsample_rates.size();
}

// Channels after `stages` upsamplings.
std::int64_t ChannelsAfter(const VocoderConfig& config, std::size_t stages) {
  return config.initial_channels >> stages;
}

std::string BlockName(std::size_t block) {
  return absl::StrCat("resblocks.", block);
}

class SpecList {
 public:
  explicit SpecList(WeightNormNames names) : names_(names) {}

  // `outer` is the first dimension of the weight, whichever channels those are.
  void Conv(const std::string& prefix, std::int64_t outer, std::int64_t inner, std::int64_t kernel,
            std::int64_t channels_out) {
    specs_.push_back({LengthName(prefix, names_), {outer, 1, 1}});
    specs_.push_back({DirectionName(prefix, names_), {outer, inner, kernel}});
    specs_.push_back({prefix + ".bias", {channels_out}});
  }
  void Snake(const std::string& prefix, std::int64_t channels) {
    specs_.push_back({prefix + ".act.alpha", {channels}});
    specs_.push_back({prefix + ".act.beta", {channels}});
    specs_.push_back({prefix + ".upsample.filter", {1, 1, kFilterTaps}});
    specs_.push_back({prefix + ".downsample.lowpass.filter", {1, 1, kFilterTaps}});
  }
  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  WeightNormNames names_;
  std::vector<TensorSpec> specs_;
};

}  // namespace

WeightNormNames FindWeightNormNames(const WeightSource& source) {
  const std::string name = LengthName("conv_pre", WeightNormNames::kParametrizations);
  return source.Find(name).ok() ? WeightNormNames::kParametrizations : WeightNormNames::kGV;
}

std::vector<TensorSpec> VocoderTensors(const VocoderConfig& config, WeightNormNames names) {
  SpecList list(names);
  list.Conv("conv_pre", config.initial_channels, config.mel_bins, kOuterKernel, config.initial_channels);
  const std::size_t kernels = config.resblock_kernels.size();
  for (std::size_t i = 0; i < Stages(config); ++i) {
    const std::int64_t channels = ChannelsAfter(config, i + 1);
    const std::int64_t channels_in = ChannelsAfter(config, i);
    list.Conv(absl::StrCat("ups.", i, ".0"), channels_in, channels, config.upsample_kernels[i], channels);
    for (std::size_t j = 0; j < kernels; ++j) {
      const std::string block = BlockName(i * kernels + j);
      for (std::size_t n = 0; n < config.resblock_dilations[j].size(); ++n) {
        const std::int64_t kernel = config.resblock_kernels[j];
        list.Conv(absl::StrCat(block, ".convs1.", n), channels, channels, kernel, channels);
        list.Conv(absl::StrCat(block, ".convs2.", n), channels, channels, kernel, channels);
        list.Snake(absl::StrCat(block, ".activations.", 2 * n), channels);
        list.Snake(absl::StrCat(block, ".activations.", 2 * n + 1), channels);
      }
    }
  }
  const std::int64_t channels = ChannelsAfter(config, Stages(config));
  list.Snake("activation_post", channels);
  list.Conv("conv_post", 1, channels, kOuterKernel, 1);
  return list.Take();
}

std::vector<float> FoldWeightNorm(std::span<const float> g, std::span<const float> v) {
  OVI_CHECK(!g.empty() && v.size() % g.size() == 0);
  const std::size_t row_elements = v.size() / g.size();
  std::vector<float> folded;
  folded.reserve(v.size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    const std::span<const float> row = v.subspan(i * row_elements, row_elements);
    double square = 0;
    for (const float value : row) square += double{value} * value;
    const double scale = square > 0 ? g[i] / std::sqrt(square) : 0.0;
    for (const float value : row) folded.push_back(static_cast<float>(value * scale));
  }
  return folded;
}

// Loads under one naming and number format.
class Vocoder::Loader {
 public:
  Loader(const Runtime& runtime, const WeightSource& source, NumberFormat format)
      : params_(runtime, source, format), exact_(runtime, source, {}), names_(FindWeightNormNames(source)) {}

  absl::StatusOr<ConvParams> Conv(const std::string& prefix, std::int64_t co, std::int64_t ci,
                                  std::int64_t kernel) {
    OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, Folded(prefix, co, ci * kernel));
    OVI_ASSIGN_OR_RETURN(ConvParams conv, params_.ConvFrom(weight, co, ci, {1, 1, kernel}, prefix));
    OVI_ASSIGN_OR_RETURN(conv.bias, params_.Vector(prefix + ".bias", co));
    return conv;
  }

  absl::StatusOr<ConvTransposeParams> ConvTranspose(const std::string& prefix, std::int64_t ci,
                                                    std::int64_t co, std::int64_t kernel) {
    OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, Folded(prefix, ci, co * kernel));
    OVI_ASSIGN_OR_RETURN(ConvTransposeParams conv, params_.ConvTransposeFrom(weight, ci, co, kernel, prefix));
    OVI_ASSIGN_OR_RETURN(conv.bias, params_.Vector(prefix + ".bias", co));
    return conv;
  }

  absl::StatusOr<Vocoder::Snake> Snake(const std::string& prefix, std::int64_t channels) {
    Vocoder::Snake snake;
    OVI_ASSIGN_OR_RETURN(std::vector<float> alpha, Exponentials(prefix + ".act.alpha", channels));
    OVI_ASSIGN_OR_RETURN(std::vector<float> inv_beta, Exponentials(prefix + ".act.beta", channels));
    for (float& value : inv_beta) value = static_cast<float>(1.0 / (double{value} + 1e-9));
    OVI_ASSIGN_OR_RETURN(snake.alpha, exact_.VectorFrom(alpha, prefix));
    OVI_ASSIGN_OR_RETURN(snake.inv_beta, exact_.VectorFrom(inv_beta, prefix));
    OVI_ASSIGN_OR_RETURN(snake.filter_up, params_.Vector(prefix + ".upsample.filter", kFilterTaps));
    OVI_ASSIGN_OR_RETURN(snake.filter_down,
                         params_.Vector(prefix + ".downsample.lowpass.filter", kFilterTaps));
    return snake;
  }

  absl::StatusOr<AmpBlock> Block(const std::string& prefix, std::int64_t channels, std::int64_t kernel,
                                 const std::vector<std::int64_t>& dilations) {
    AmpBlock block{.dilations = dilations};
    for (std::size_t n = 0; n < dilations.size(); ++n) {
      OVI_ASSIGN_OR_RETURN(block.convs1.emplace_back(),
                           Conv(absl::StrCat(prefix, ".convs1.", n), channels, channels, kernel));
      OVI_ASSIGN_OR_RETURN(block.convs2.emplace_back(),
                           Conv(absl::StrCat(prefix, ".convs2.", n), channels, channels, kernel));
    }
    for (std::size_t n = 0; n < 2 * dilations.size(); ++n) {
      OVI_ASSIGN_OR_RETURN(block.activations.emplace_back(),
                           Snake(absl::StrCat(prefix, ".activations.", n), channels));
    }
    return block;
  }

  WeightNormNames names() const { return names_; }

 private:
  // Folded from the stored values; rounded to the number format only afterwards, as the original does.
  absl::StatusOr<std::vector<float>> Folded(const std::string& prefix, std::int64_t outer,
                                            std::int64_t row_elements) const {
    OVI_ASSIGN_OR_RETURN(const std::vector<float> g, params_.Values(LengthName(prefix, names_), outer));
    OVI_ASSIGN_OR_RETURN(std::vector<float> v,
                         params_.Values(DirectionName(prefix, names_), outer * row_elements));
    if (!params_.reads_values()) return v;
    return FoldWeightNorm(g, v);
  }

  // The logarithm is a bf16 parameter as executed, its exponential an f32 intermediate.
  absl::StatusOr<std::vector<float>> Exponentials(const std::string& name, std::int64_t channels) const {
    OVI_ASSIGN_OR_RETURN(std::vector<float> values, params_.Values(name, channels));
    for (float& value : values) {
      const float stored = params_.format().bf16_weights ? RoundToBFloat16(value) : value;
      value = static_cast<float>(std::exp(double{stored}));
    }
    return values;
  }

  ParamLoader params_;
  ParamLoader exact_;  // rounds nothing
  WeightNormNames names_;
};

absl::StatusOr<Vocoder> Vocoder::Load(const Runtime& runtime, const VocoderConfig& config,
                                      const WeightSource& source, PrecisionPolicy policy) {
  const NumberFormat format = Bf16NetworkFormat(policy);
  Loader loader(runtime, source, format);
  OVI_RETURN_IF_ERROR(CheckTensors(source, VocoderTensors(config, loader.names())));
  const std::size_t kernels = config.resblock_kernels.size();
  Vocoder vocoder(runtime);
  vocoder.dtype_ = format.compute;
  vocoder.rates_ = config.upsample_rates;
  vocoder.blocks_per_stage_ = kernels;
  OVI_ASSIGN_OR_RETURN(vocoder.conv_pre_,
                       loader.Conv("conv_pre", config.initial_channels, config.mel_bins, kOuterKernel));
  for (std::size_t i = 0; i < Stages(config); ++i) {
    const std::int64_t channels = ChannelsAfter(config, i + 1);
    OVI_ASSIGN_OR_RETURN(vocoder.ups_.emplace_back(),
                         loader.ConvTranspose(absl::StrCat("ups.", i, ".0"), ChannelsAfter(config, i),
                                              channels, config.upsample_kernels[i]));
    for (std::size_t j = 0; j < kernels; ++j) {
      OVI_ASSIGN_OR_RETURN(vocoder.blocks_.emplace_back(),
                           loader.Block(BlockName(i * kernels + j), channels, config.resblock_kernels[j],
                                        config.resblock_dilations[j]));
    }
  }
  const std::int64_t channels = ChannelsAfter(config, Stages(config));
  OVI_ASSIGN_OR_RETURN(vocoder.activation_post_, loader.Snake("activation_post", channels));
  OVI_ASSIGN_OR_RETURN(vocoder.conv_post_, loader.Conv("conv_post", 1, channels, kOuterKernel));
  return vocoder;
}

}  // namespace ovi
