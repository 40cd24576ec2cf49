#include "worker/pipeline/check_weights.h"

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/model/audio_vae.h"
#include "worker/model/fusion_params.h"
#include "worker/model/text_encoder.h"
#include "worker/model/video_vae_layout.h"
#include "worker/model/vocoder.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

absl::Status CheckFile(const std::string& path, const std::vector<TensorSpec>& expected) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(path));
  return CheckTensors(*source, expected);
}

absl::Status CheckVocoder(const ModelFolder& model) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model.vocoder_weights));
  return CheckTensors(*source, VocoderTensors(model.vocoder, FindWeightNormNames(*source)));
}

}  // namespace

absl::Status CheckWeights(const ModelFolder& model) {
  OVI_RETURN_IF_ERROR(CheckFile(model.fusion_weights, FusionTensors(model.fusion)));
  OVI_RETURN_IF_ERROR(CheckFile(model.text_weights, TextTensors(model.text)));
  OVI_RETURN_IF_ERROR(CheckFile(model.video_vae_weights, VideoVaeTensors(model.video_vae)));
  OVI_RETURN_IF_ERROR(CheckFile(model.audio_vae_weights, AudioVaeTensors(model.audio_vae)));
  return CheckVocoder(model);
}

}  // namespace ovi
