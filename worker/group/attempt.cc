#include "worker/group/attempt.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/job/job_proto.h"

namespace ovi {

absl::StatusOr<AttemptRequest> ResolveAttempt(const v1::RunAttempt& run, const AttemptPlace& place,
                                              std::optional<FrameSize> image) {
  AttemptRequest request;
  OVI_ASSIGN_OR_RETURN(request.job, JobFromProto(run.spec()));
  if (request.job.model_name != place.model_name) {
    return absl::InternalError(absl::StrCat("model_name: this group holds ", place.model_name,
                                            ", the job is for ", Quoted(request.job.model_name)));
  }
  if (image.has_value() != (request.job.mode == Mode::kI2v)) {
    return absl::InvalidArgumentError("first_frame_sha256: mode i2v has a first frame, mode t2v has none");
  }
  OVI_ASSIGN_OR_RETURN(request.clip, ResolveClip(request.job, request.job.prompts.front(), 0, place.model,
                                                 image, place.low_rank));
  OVI_ASSIGN_OR_RETURN(request.topology,
                       ChooseTopology({.world_size = place.world_size,
                                       .gpus = {request.job.gpu_allocation, request.job.gpu_count},
                                       .heads = static_cast<int>(place.model.fusion.video.heads),
                                       .two_passes = request.clip.needs_negative_pass(),
                                       .shares = place.shares}));
  OVI_ASSIGN_OR_RETURN(
      SettledClip settled,
      place.settler.Settle(request.clip, {.topology = request.topology, .shares = place.shares},
                           request.job.max_vram_bytes));
  request.clip = std::move(settled.clip);
  request.plan = std::move(settled.plan);
  return request;
}

v1::AttemptEnd EndOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return v1::ATTEMPT_END_COMPLETED;
    case absl::StatusCode::kCancelled:
      return v1::ATTEMPT_END_CANCELLED;
    case absl::StatusCode::kResourceExhausted:
      return v1::ATTEMPT_END_OUT_OF_MEMORY;
    case absl::StatusCode::kFailedPrecondition:
      return v1::ATTEMPT_END_NODE_NOT_READY;
    case absl::StatusCode::kInvalidArgument:
      return v1::ATTEMPT_END_BAD_INPUT;
    default:
      return v1::ATTEMPT_END_WORKER_CRASH;
  }
}

v1::Stage ToProto(Stage stage) {
  switch (stage) {
    case Stage::kEncode:
      return v1::STAGE_ENCODE;
    case Stage::kDenoise:
      return v1::STAGE_DENOISE;
    case Stage::kDecode:
      return v1::STAGE_DECODE;
  }
  return v1::STAGE_UNSPECIFIED;
}

}  // namespace ovi
