// How decisions leave the coordinator. The real one speaks to agents and groups over their streams
// (coordinator/rpc).
#pragma once

#include <string>

#include "coordinator/core/advance.h"

namespace ovi {

// Called on the controller's thread, which must not be kept waiting: put it into a queue. A peer that is not
// connected is not an error: timeouts in core take care of it.
class Commands {
 public:
  virtual ~Commands() = default;
  // `agent_instance`: the agent of start.node that is connected now; "" when there is none.
  virtual void StartGroup(const core::StartGroup& start, const std::string& agent_instance) = 0;
  virtual void StopGroup(const core::StopGroup& stop, const std::string& agent_instance) = 0;
  // `spec`: the job's, serialised ovi.v1.JobSpec.
  virtual void RunAttempt(const core::RunAttempt& run, const std::string& spec) = 0;
  virtual void CancelAttempt(const core::CancelAttempt& cancel) = 0;
  virtual void AcknowledgeAttempt(const core::AcknowledgeAttempt& acknowledge) = 0;
};

}  // namespace ovi
