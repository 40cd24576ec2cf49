#include "worker/cli/tensor_dump.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

std::vector<float> Copy(std::span<const float> values) {
  return {values.begin(), values.end()};
}

absl::StatusOr<std::vector<float>> ReadTensor(const WeightSource& source, const std::string& name,
                                              const Shape& shape, bool round_bf16) {
  OVI_ASSIGN_OR_RETURN(const HostTensor tensor, source.Find(name));
  if (!(tensor.shape == shape)) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": ", name, " is ", tensor.shape.ToString(),
                                                   ", but this clip needs ", shape.ToString()));
  }
  std::vector<float> values = ToFloats(tensor);
  if (round_bf16) RoundToBFloat16(values);
  return values;
}

}  // namespace

absl::StatusOr<Latents> ReadNoise(const std::string& path, const ClipRequest& clip) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(path));
  const bool bf16 = clip.policy == PrecisionPolicy::kAsExecuted;
  Latents noise;
  OVI_ASSIGN_OR_RETURN(noise.video, ReadTensor(*source, "video_noise", clip.latent.video(), bf16));
  OVI_ASSIGN_OR_RETURN(noise.audio, ReadTensor(*source, "audio_noise", clip.latent.audio(), bf16));
  return noise;
}

void TensorDump::Attach(ClipInputs& inputs) {
  inputs.observer.on_prediction = [this](int step, bool positive, std::span<const float> video,
                                         std::span<const float> audio) {
    if (step != 0) return;
    const char* pass = positive ? "pos" : "neg";
    tensors_[absl::StrCat("step0_video_", pass)] = {clip_.latent.video(), Copy(video)};
    tensors_[absl::StrCat("step0_audio_", pass)] = {clip_.latent.audio(), Copy(audio)};
  };
  inputs.observer.on_step = [this](int step, std::span<const float> video, std::span<const float> audio) {
    tensors_[absl::StrFormat("video_latent_%02d", step)] = {clip_.latent.video(), Copy(video)};
    tensors_[absl::StrFormat("audio_latent_%02d", step)] = {clip_.latent.audio(), Copy(audio)};
  };
  inputs.on_pixels = [this](std::span<const float> pixels) {
    pixels_.insert(pixels_.end(), pixels.begin(), pixels.end());
  };
}

void TensorDump::AddAudio(std::span<const float> samples) {
  tensors_["audio"] = {{static_cast<std::int64_t>(samples.size())}, Copy(samples)};
}

absl::Status TensorDump::Write(const std::string& path, const Latents& final_latents) {
  tensors_["final_video_latent"] = {clip_.latent.video(), final_latents.video};
  tensors_["final_audio_latent"] = {clip_.latent.audio(), final_latents.audio};
  const std::int64_t positions = static_cast<std::int64_t>(pixels_.size()) / 3;
  NamedTensor& video = tensors_["video"];
  video.shape = {3, positions / (clip_.size.height * clip_.size.width), clip_.size.height, clip_.size.width};
  video.values.resize(pixels_.size());
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t c = 0; c < 3; ++c) {
      video.values[static_cast<std::size_t>(c * positions + p)] =
          std::clamp(pixels_[static_cast<std::size_t>(p * 3 + c)], -1.0f, 1.0f);
    }
  }
  return WriteSafetensors(path, tensors_,
                          {{"seed", absl::StrCat(clip_.seed)}, {"steps", absl::StrCat(clip_.steps)}});
}

}  // namespace ovi
