// The two ranks of a group during one attempt: tensors between them, and each one's word when it is over.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/group/mpi_session.h"
#include "worker/group/peer_message.h"
#include "worker/pipeline/guidance_link.h"

namespace ovi {

// Used by the computing thread. Borrows the session. Errors of MPI are UNAVAILABLE and leave nothing to
// save.
class PeerLink final : public GuidanceLink {
 public:
  // `sequence` names the attempt. `stop` is asked while it waits; its error ends the waiting. May be null.
  PeerLink(MpiSession& session, GuidancePass pass, std::uint32_t sequence,
           std::function<absl::Status()> stop);

  GuidancePass pass() const override { return pass_; }
  absl::Status Send(std::span<const float> values) override;
  absl::Status Receive(std::vector<float>& values) override;

  // ABORTED once the other rank has failed: for Control::interruption, since it is asked between blocks.
  absl::Status Interruption();

  // To be called once on both ranks, however their parts ended: tells the other how it went here and waits
  // for its word. Afterwards no message of the attempt is left. `stop` is not asked: the other rank answers
  // within a block, or else the process is ended from outside.
  absl::StatusOr<PeerOutcome> Settle(const absl::Status& status, const std::vector<StageReport>& stages);

 private:
  MessageTag Tag(MessageKind kind) const { return {kind, sequence_}; }
  // Takes in what has arrived.
  absl::Status Pump();
  absl::Status WaitUntil(const std::function<absl::StatusOr<bool>()>& done);

  MpiSession& session_;
  const int peer_;
  const GuidancePass pass_;
  const std::uint32_t sequence_;
  const std::function<absl::Status()> stop_;
  std::deque<std::string> inbox_;
  std::uint64_t sent_ = 0, received_ = 0;  // tensors
  std::optional<PeerOutcome> outcome_;     // the other's
};

}  // namespace ovi
