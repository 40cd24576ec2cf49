// The other rank of a group: does what rank 0 says until it is told to end.
#pragma once

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/group/mpi_session.h"
#include "worker/group/peer_message.h"
#include "worker/pipeline/engine.h"

namespace ovi {

// Borrows all it is given. Used by the computing thread, which sleeps while there is nothing to do.
class Follower {
 public:
  Follower(MpiSession& session, Engine& engine, const std::string& model_name)
      : session_(session), engine_(engine), model_name_(model_name) {}

  // Until the group is to end. UNAVAILABLE when a rank is lost.
  absl::StatusOr<v1::GroupExitCode> Follow();

 private:
  absl::StatusOr<PeerOrder> WaitForOrder();
  absl::Status Assist(const PeerOrder& order);

  MpiSession& session_;
  Engine& engine_;
  const std::string& model_name_;
};

}  // namespace ovi
