// One attempt on one rank: from the coordinator's RunAttempt to a clip and to how the ranks share it.
// What all ranks must see alike is settled here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/job/job_spec.h"
#include "worker/parallel/topology.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/pipeline/progress.h"
#include "worker/plan/clip_settler.h"

namespace ovi {

struct AttemptRequest {
  JobSpec job;
  ClipRequest clip;  // settled
  Topology topology;
  MemoryPlan plan;  // of the rank that takes most
};

// What an attempt finds: the group's model and ranks, and the memory of each.
struct AttemptPlace {
  const std::string& model_name;
  const ModelFolder& model;
  ClipSettler& settler;
  int world_size = 1;
  const std::vector<int>& shares;        // of the ranks (topology.h); empty = all alike
  std::int64_t low_rank = kDefaultRank;  // of the model's compressed weights (low_rank_weights.h)
};

// Pure, but for what the settler remembers. `image` is the size of the first frame's image, given exactly in
// mode i2v. INVALID_ARGUMENT for a job that could not be made anywhere, or not by so many ranks; INTERNAL
// for one that is not this group's; RESOURCE_EXHAUSTED for one that does not fit.
absl::StatusOr<AttemptRequest> ResolveAttempt(const v1::RunAttempt& run, const AttemptPlace& place,
                                              std::optional<FrameSize> image);

// How an attempt that ended with `status` is reported. Never COMPLETED for an error. FAILED_PRECONDITION is
// what this node lacks, RESOURCE_EXHAUSTED memory alone: a full disk is not helped by a lower vram_mode.
v1::AttemptEnd EndOf(const absl::Status& status);

v1::Stage ToProto(Stage stage);

}  // namespace ovi
