// Golden tests of the video and audio autoencoders and the vocoder.
#include "base/status.h"
#include "tests/golden/configs.h"
#include "worker/model/audio_vae.h"
#include "worker/model/video_vae.h"
#include "worker/model/vocoder.h"

namespace ovi::golden {
namespace {

absl::Status NoCheck() {
  return absl::OkStatus();
}

// A device tensor with its axes moved.
absl::StatusOr<Tensor> Permuted(const Context& context, const Tensor& in, const Shape& out_shape,
                                const std::array<int, Shape::kMaxRank>& axes) {
  OVI_ASSIGN_OR_RETURN(const Tensor out, context.runtime.arena.Allocate(in.dtype, out_shape, "permuted"));
  context.runtime.stream.Run(Permute{.in = in, .axes = axes, .out = out});
  return out;
}

// [1, C, F, H, W] of the set, as (F, H, W, C).
absl::StatusOr<Tensor> UploadClip(const Context& context, const std::string& name) {
  OVI_ASSIGN_OR_RETURN(const Reference r, context.set.Tensor(name));
  const Shape planar{r.shape[-4], r.shape[-3], r.shape[-2], r.shape[-1]};
  OVI_ASSIGN_OR_RETURN(const Tensor clip, context.Upload(name, DType::kF32, planar));
  return Permuted(context, clip, {planar[1], planar[2], planar[3], planar[0]}, {1, 2, 3, 0});
}

// (F, H, W, C) of several chunks, on the host, as one [C, F, H, W].
std::vector<float> ChannelsFirst(const std::vector<float>& clip, std::int64_t channels) {
  const std::int64_t positions = static_cast<std::int64_t>(clip.size()) / channels;
  std::vector<float> out(clip.size());
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t c = 0; c < channels; ++c) {
      out[static_cast<std::size_t>(c * positions + p)] = clip[static_cast<std::size_t>(p * channels + c)];
    }
  }
  return out;
}

absl::StatusOr<std::vector<float>> DecodeClip(const Context& context, const VideoVaeConfig& config,
                                              const std::string& name) {
  ArenaScope scope(context.runtime.arena);
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_video_vae"));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<VideoVaeDecoder> decoder,
                       VideoVaeDecoder::Load(context.runtime, config, *weights, context.policy));
  OVI_ASSIGN_OR_RETURN(const Tensor z, UploadClip(context, name));
  OVI_RETURN_IF_ERROR(decoder->Begin(z.shape[1], z.shape[2]));
  std::vector<float> frames;
  for (std::int64_t f = 0; f < z.shape[0]; ++f) {
    const Tensor latent = z.Slice(f, 1).Reshaped({z.shape[1], z.shape[2], z.shape[3]});
    OVI_ASSIGN_OR_RETURN(const Tensor pixels, decoder->DecodeNext(latent, NoCheck));
    OVI_ASSIGN_OR_RETURN(const std::vector<float> values, context.Download(pixels));
    frames.insert(frames.end(), values.begin(), values.end());
  }
  return ChannelsFirst(frames, 3);
}

absl::StatusOr<std::vector<float>> EncodeClip(const Context& context, const VideoVaeConfig& config,
                                              const std::string& name) {
  ArenaScope scope(context.runtime.arena);
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_video_vae"));
  OVI_ASSIGN_OR_RETURN(const Tensor frames, UploadClip(context, name));
  const VideoVaeInput input = frames.shape[0] == 1 ? VideoVaeInput::kImage : VideoVaeInput::kClip;
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<VideoVaeEncoder> encoder,
                       VideoVaeEncoder::Load(context.runtime, config, *weights, context.policy, input));
  OVI_ASSIGN_OR_RETURN(const Tensor mean, encoder->Encode(frames, NoCheck));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> values, context.Download(mean));
  return ChannelsFirst(values, config.z_dim);
}

absl::Status VideoVaeTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const VideoVaeConfig config, VideoVaeConfigOf(context.set));
  for (const char* name : {"decode", "decode1"}) {
    const std::string at = std::string("video_vae.") + name;
    OVI_ASSIGN_OR_RETURN(results[at + ".frames"], DecodeClip(context, config, at + ".z"));
  }
  OVI_ASSIGN_OR_RETURN(results["video_vae.encode1.mu"],
                       EncodeClip(context, config, "video_vae.encode1.image"));
  OVI_ASSIGN_OR_RETURN(results["video_vae.encode5.mu"],
                       EncodeClip(context, config, "video_vae.encode5.video"));
  return absl::OkStatus();
}

// [1, C, L] of the set, as (L, C).
absl::StatusOr<Tensor> UploadSequence(const Context& context, const std::string& name, DType dtype) {
  OVI_ASSIGN_OR_RETURN(const Reference r, context.set.Tensor(name));
  const Shape planar{r.shape[-2], r.shape[-1]};
  OVI_ASSIGN_OR_RETURN(const Tensor sequence, context.Upload(name, dtype, planar));
  return Permuted(context, sequence, {planar[1], planar[0]}, {1, 0});
}

absl::StatusOr<std::vector<float>> DownloadSequence(const Context& context, const Tensor& sequence) {
  OVI_ASSIGN_OR_RETURN(const std::vector<float> values, context.Download(sequence));
  return ChannelsFirst(values, sequence.shape[1]);
}

// The weight of a convolution as the loader normalises it.
absl::StatusOr<std::vector<float>> NormalisedWeight(const Context& context, const std::string& name) {
  OVI_ASSIGN_OR_RETURN(const Reference weight, context.set.Tensor(name));
  return NormalisedConvWeight(weight.values, weight.shape[0]);
}

absl::StatusOr<std::vector<float>> EffectiveWeight(const Context& context, const std::string& name) {
  OVI_ASSIGN_OR_RETURN(const Reference g, context.set.Tensor(name + ".weight_g"));
  OVI_ASSIGN_OR_RETURN(const Reference v, context.set.Tensor(name + ".weight_v"));
  return FoldWeightNorm(g.values, v.values);
}

absl::Status AudioTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const AudioVaeConfig config, AudioVaeConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const VocoderConfig vocoder_config, VocoderConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const WeightSource* vae_weights, context.set.Weights("weights_audio_vae"));
  OVI_ASSIGN_OR_RETURN(const WeightSource* vocoder_weights, context.set.Weights("weights_vocoder"));

  OVI_ASSIGN_OR_RETURN(const AudioVaeDecoder decoder,
                       AudioVaeDecoder::Load(context.runtime, config, *vae_weights, context.policy));
  OVI_ASSIGN_OR_RETURN(const Tensor z, UploadSequence(context, "audio.z", DType::kF32));
  Tensor normalised;
  OVI_ASSIGN_OR_RETURN(const Tensor mel, decoder.Decode(z, NoCheck, &normalised));
  OVI_ASSIGN_OR_RETURN(results["audio.decoder_out_normalised"], DownloadSequence(context, normalised));
  OVI_ASSIGN_OR_RETURN(results["audio.mel"], DownloadSequence(context, mel));

  OVI_ASSIGN_OR_RETURN(const AudioVaeEncoder encoder,
                       AudioVaeEncoder::Load(context.runtime, config, *vae_weights, context.policy));
  OVI_ASSIGN_OR_RETURN(const Tensor encoder_mel, UploadSequence(context, "audio.encoder.mel", DType::kF32));
  OVI_ASSIGN_OR_RETURN(const Tensor mean, encoder.Encode(encoder_mel, NoCheck));
  OVI_ASSIGN_OR_RETURN(results["audio.encoder.mean"], DownloadSequence(context, mean));

  OVI_ASSIGN_OR_RETURN(const Vocoder vocoder,
                       Vocoder::Load(context.runtime, vocoder_config, *vocoder_weights, context.policy));
  absl::Status observed;
  const auto observer = [&](std::string_view name, const Tensor& value) {
    absl::StatusOr<std::vector<float>> values = DownloadSequence(context, value);
    observed.Update(values.status());
    if (!values.ok()) return;
    const bool post = name.starts_with("activation_post");
    results["vocoder." + std::string(name) + (post ? "" : ".y")] = *std::move(values);
  };
  OVI_ASSIGN_OR_RETURN(const Tensor wave, vocoder.Decode(mel, NoCheck, observer));
  OVI_RETURN_IF_ERROR(observed);
  OVI_ASSIGN_OR_RETURN(results["audio.waveform"], context.Download(wave));
  OVI_ASSIGN_OR_RETURN(const Tensor x, UploadSequence(context, "vocoder.activation.x", vocoder.dtype()));
  OVI_ASSIGN_OR_RETURN(const Tensor activated, vocoder.Activation(0, 0, x));
  OVI_ASSIGN_OR_RETURN(results["vocoder.activation.y"], DownloadSequence(context, activated));
  OVI_ASSIGN_OR_RETURN(const Tensor block, vocoder.ResBlock(0, x));
  OVI_ASSIGN_OR_RETURN(results["vocoder.resblock0.y"], DownloadSequence(context, block));

  for (const char* name : {"decoder.conv_in.weight", "decoder.mid.attn_1.qkv.weight"}) {
    OVI_ASSIGN_OR_RETURN(results[std::string("audio_vae.normalised.") + name],
                         NormalisedWeight(context, name));
  }
  for (const char* name : {"ups.0.0", "conv_pre"}) {
    OVI_ASSIGN_OR_RETURN(results[std::string("vocoder.effective.") + name + ".weight"],
                         EffectiveWeight(context, name));
  }
  return absl::OkStatus();
}

}  // namespace

const std::map<std::string, Runner>& AutoencoderRunners() {
  static const std::map<std::string, Runner> runners = {{"video_vae", VideoVaeTest}, {"audio", AudioTest}};
  return runners;
}

}  // namespace ovi::golden
