#include "worker/group/follower.h"

#include <memory>
#include <optional>
#include <string>

#include "base/cache_dir.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/group/attempt.h"
#include "worker/group/peer_watch.h"
#include "worker/pipeline/loras.h"
#include "worker/pipeline/low_rank_weights.h"
#include "worker/pipeline/rank_group.h"

namespace ovi {
namespace {

constexpr int kLeader = 0;
// An idle rank answers within so long: less than rank 0 takes to encode. At 1 ms it took 2 % of a core, at 4
// ms it takes half a per cent.
constexpr std::chrono::microseconds kNapLongest{4'000};

}  // namespace

absl::StatusOr<v1::GroupExitCode> Follower::Follow() {
  for (;;) {
    OVI_ASSIGN_OR_RETURN(const PeerOrder order, WaitForOrder());
    if (order.kind == PeerOrder::Kind::kShutDown) return static_cast<v1::GroupExitCode>(order.exit_code);
    OVI_RETURN_IF_ERROR(Assist(order));
  }
}

absl::StatusOr<PeerOrder> Follower::WaitForOrder() {
  for (Nap nap(kNapLongest);; nap.Take()) {
    OVI_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                         parts_.session.TryReceive(kLeader, {MessageKind::kOrder}));
    if (text) return DecodeOrder(*text);
  }
}

// What rank 0 resolved resolves here as well: anything else is a defect that ends the group.
absl::Status Follower::Assist(const PeerOrder& order) {
  v1::RunAttempt run;
  if (!run.ParseFromString(order.run)) return absl::InternalError("order of rank 0: not a RunAttempt");
  const std::optional<FrameSize> image =
      order.image == FrameSize{} ? std::nullopt : std::optional<FrameSize>(order.image);
  OVI_ASSIGN_OR_RETURN(const AttemptRequest request, ResolveAttempt(run,
                                                                    {.model_name = parts_.facts.model_name,
                                                                     .model = parts_.engine.model(),
                                                                     .settler = parts_.settler,
                                                                     .world_size = parts_.session.size(),
                                                                     .shares = parts_.facts.rank_shares,
                                                                     .low_rank = parts_.low_rank},
                                                                    image));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<RankGroup> ranks,
                       RankGroup::Make(parts_.world, request.topology, parts_.facts.rank_shares));
  PeerWatch watch(parts_.session, order.sequence);
  const auto interruption = [&watch] { return watch.Interruption(); };
  parts_.world.SetInterruption(interruption);
  PeerOutcome mine;
  ClipInputs inputs;
  inputs.on_stage = [&mine](const StageReport& stage) { mine.stages.push_back(stage); };
  absl::StatusOr<std::vector<LoraAdapter>> loras = OpenLoras(request.job.loras, parts_.engine.model());
  mine.status = loras.status();
  if (mine.status.ok() && WantsLowRank(request.job)) {
    // Rank 0 has found it already; on another machine it may have to be made.
    const auto go_on = [&interruption](std::int64_t, std::int64_t) { return interruption(); };
    absl::StatusOr<std::string> path = FindLowRankWeights(parts_.engine.model(), DefaultCacheDir(), go_on);
    mine.status = path.status();
    if (path.ok()) inputs.fusion_weights = *std::move(path);
  }
  if (mine.status.ok()) {
    inputs.loras = *std::move(loras);
    mine.status = parts_.engine.Assist(request.clip, inputs, {.interruption = interruption}, *ranks).status();
  }
  // What another rank ended is no failure of ours.
  if (!mine.status.ok() && !absl::IsAborted(mine.status)) {
    Log(LogLevel::kWarning, "assistance failed",
        {{"rank", parts_.session.rank()}, {"reason", mine.status.message()}});
  }
  const absl::Status settled = watch.Settle(mine, ranks->communicators()).status();
  parts_.world.SetInterruption(nullptr);
  return settled;
}

}  // namespace ovi
