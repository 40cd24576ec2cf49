// Noise in and intermediate tensors out, for comparing a run with reference data. Names are those of
// tests/golden/mini-ovi.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "worker/pipeline/engine.h"
#include "worker/weights/safetensors_writer.h"

namespace ovi {

// video_noise (C, Lf, Lh, Lw) and audio_noise (La, Ca) of the file. INVALID_ARGUMENT when they do not fit the
// clip.
absl::StatusOr<Latents> ReadNoise(const std::string& path, const ClipRequest& clip);

// Collects step0_{video,audio}_{pos,neg}, {video,audio}_latent_NN after every step, video (3, F, H, W)
// clamped, audio.
class TensorDump {
 public:
  explicit TensorDump(const ClipRequest& clip) : clip_(clip) {}

  // From now on `inputs` reports to this object, which must outlive the clip.
  void Attach(ClipInputs& inputs);
  void AddAudio(std::span<const float> samples);
  absl::Status Write(const std::string& path, const Latents& final_latents);

 private:
  ClipRequest clip_;
  std::map<std::string, NamedTensor> tensors_;
  std::vector<float> pixels_;  // (F, H, W, 3)
};

// Passes a clip on to `inner` and its sound to `dump` as well.
class DumpingSink final : public ClipSink {
 public:
  DumpingSink(ClipSink& inner, TensorDump& dump) : inner_(inner), dump_(dump) {}
  absl::Status Begin(const ClipInfo& info, std::span<const float> audio) override {
    dump_.AddAudio(audio);
    return inner_.Begin(info, audio);
  }
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override { return inner_.AddFrames(rgb); }
  absl::Status Finish() override { return inner_.Finish(); }

 private:
  ClipSink& inner_;
  TensorDump& dump_;
};

}  // namespace ovi
