#include "worker/group/follower.h"

#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "worker/group/attempt.h"
#include "worker/group/peer_link.h"
#include "worker/pipeline/loras.h"

namespace ovi {
namespace {

constexpr int kLeader = 0;
// An idle rank answers within so long: less than rank 0 takes to encode. At 1 ms it took 2 % of a core, at 4
// ms it takes half a per cent.
constexpr std::chrono::microseconds kNapLongest{4'000};

absl::StatusOr<AttemptRequest> RequestOf(const PeerOrder& order, const std::string& model_name,
                                         const ModelFolder& model) {
  v1::RunAttempt run;
  if (!run.ParseFromString(order.run)) return absl::InternalError("order of rank 0: not a RunAttempt");
  const std::optional<FrameSize> image =
      order.image == FrameSize{} ? std::nullopt : std::optional<FrameSize>(order.image);
  return ResolveAttempt(run, model_name, model, image);
}

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
                         session_.TryReceive(kLeader, {MessageKind::kOrder}));
    if (text) return DecodeOrder(*text);
  }
}

absl::Status Follower::Assist(const PeerOrder& order) {
  std::vector<StageReport> stages;
  PeerLink peer(session_, GuidancePass::kNegative, order.sequence, nullptr);
  const absl::StatusOr<AttemptRequest> request = RequestOf(order, model_name_, engine_.model());
  absl::Status status = request.status();
  ClipInputs inputs;
  if (status.ok()) {
    absl::StatusOr<std::vector<LoraAdapter>> loras = OpenLoras(request->job.loras, engine_.model());
    status = loras.status();
    if (loras.ok()) inputs.loras = *std::move(loras);
  }
  if (status.ok()) {
    inputs.on_stage = [&stages](const StageReport& stage) { stages.push_back(stage); };
    const Control control{.interruption = [&peer] { return peer.Interruption(); }};
    status = engine_.Assist(request->clip, inputs, control, peer).status();
  }
  // What rank 0 ended is no failure of ours.
  if (!status.ok() && !absl::IsAborted(status)) {
    Log(LogLevel::kWarning, "assistance failed", {{"rank", session_.rank()}, {"reason", status.message()}});
  }
  return peer.Settle(status, stages).status();
}

}  // namespace ovi
