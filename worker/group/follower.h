// A rank of a group other than rank 0: does what rank 0 says until it is told to end.
#pragma once

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/group/group_files.h"
#include "worker/group/mpi_session.h"
#include "worker/group/peer_message.h"
#include "worker/parallel/communicator.h"
#include "worker/pipeline/engine.h"
#include "worker/plan/clip_settler.h"

namespace ovi {

// Borrows all it is given. Used by the computing thread, which sleeps while there is nothing to do.
class Follower {
 public:
  struct Parts {
    MpiSession& session;
    Communicator& world;
    Engine& engine;
    ClipSettler& settler;
    const GroupFacts& facts;
    std::int64_t low_rank = kDefaultRank;  // of the model's compressed weights
  };
  explicit Follower(Parts parts) : parts_(parts) {}

  // Until the group is to end. UNAVAILABLE when a rank is lost.
  absl::StatusOr<v1::GroupExitCode> Follow();

 private:
  absl::StatusOr<PeerOrder> WaitForOrder();
  absl::Status Assist(const PeerOrder& order);

  Parts parts_;
};

}  // namespace ovi
