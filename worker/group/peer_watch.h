// The ranks of a group during one attempt: each one's word when its part is over, and everybody's ear for it
// meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/group/mpi_session.h"
#include "worker/group/peer_message.h"
#include "worker/parallel/communicator.h"

namespace ovi {

// Used by the computing thread. Borrows the session. Errors of MPI are UNAVAILABLE and leave nothing to save.
class PeerWatch {
 public:
  // `sequence` names the attempt, and is the same on all ranks.
  PeerWatch(MpiSession& session, std::uint32_t sequence);

  // ABORTED "rank 2: ..." once another rank has failed: asked between blocks and while waiting for the
  // others.
  absl::Status Interruption();

  // To be called once on every rank, however its part ended: tells the others and waits for their words, and
  // settles `communicators`, which all ranks list alike as far as they have them. Returns every rank's word,
  // this one's too, in rank order. Afterwards no message of the attempt is left. Nobody is asked whether to
  // stop: the others answer within a block, or else the process is ended from outside.
  absl::StatusOr<std::vector<PeerOutcome>> Settle(const PeerOutcome& mine,
                                                  const std::vector<Communicator*>& communicators);

 private:
  MessageTag Tag() const { return {MessageKind::kOutcome, sequence_}; }
  // Takes in what has arrived; whether all ranks have given their word.
  absl::StatusOr<bool> Listen();

  MpiSession& session_;
  const std::uint32_t sequence_;
  std::vector<std::optional<PeerOutcome>> words_;  // of each rank
};

}  // namespace ovi
