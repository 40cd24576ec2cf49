// One attempt on one rank: from the coordinator's RunAttempt to a clip. What both ranks must see alike is
// settled here.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/job/job_spec.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/pipeline/progress.h"

namespace ovi {

struct AttemptRequest {
  JobSpec job;
  ClipRequest clip;
};

// Pure. `image` is the size of the first frame's image, given exactly in mode i2v. `model_name`: of the
// group. INVALID_ARGUMENT for a job that could not be made anywhere, FAILED_PRECONDITION for one that is not
// this group's.
absl::StatusOr<AttemptRequest> ResolveAttempt(const v1::RunAttempt& run, const std::string& model_name,
                                              const ModelFolder& model, std::optional<FrameSize> image);

// How an attempt that ended with `status` is reported. Never COMPLETED for an error.
v1::AttemptEnd EndOf(const absl::Status& status);

v1::Stage ToProto(Stage stage);

}  // namespace ovi
