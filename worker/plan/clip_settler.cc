#include "worker/plan/clip_settler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace ovi {
namespace {

// Everything that memory depends on, but for the model.
std::string KeyOf(const ClipRequest& clip, const PlannedRank& rank, std::int64_t bytes_max) {
  const Topology& topology = rank.topology;
  return absl::StrCat(ToString(clip.vram_mode), " ", clip.memory.block_matrices.low_rank, " ",
                      static_cast<int>(clip.policy), " ", clip.size.height, "x", clip.size.width, " ",
                      clip.image_to_video, " ", clip.needs_negative_pass(), " ", topology.world_size, " ",
                      topology.cfg, " ", topology.sp, " ", topology.fsdp, " ",
                      absl::StrJoin(rank.shares, ","), " ", bytes_max);
}

}  // namespace

absl::StatusOr<SettledClip> ClipSettler::Settle(const ClipRequest& clip, const PlannedRank& rank,
                                                std::int64_t clip_bytes_max) {
  const std::int64_t bytes_max = clip_bytes_max > 0 ? std::min(bytes_max_, clip_bytes_max) : bytes_max_;
  const std::string key = KeyOf(clip, rank, bytes_max);
  auto found = found_.find(key);
  if (found == found_.end()) {
    OVI_ASSIGN_OR_RETURN(SettledClip settled, SettleClip(model_, clip, rank, bytes_max));
    found = found_.emplace(key, Found{settled.clip.vram_mode, settled.clip.memory, settled.plan}).first;
  }
  SettledClip settled{.clip = clip, .plan = found->second.plan};
  settled.clip.vram_mode = found->second.vram_mode;
  settled.clip.memory = found->second.memory;
  return settled;
}

}  // namespace ovi
