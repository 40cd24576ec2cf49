// Following jobs on behalf of a command.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ovictl/session.h"
#include "client/ovictl/watch_output.h"

namespace ovi::client {

struct WatchOptions {
  bool quiet = false;  // only how each job ended
  std::string out;     // folder that results of completed jobs are fetched to, as they complete; "" = none
};

// Until all jobs have ended. kExitDone when all completed (and were fetched), else kExitFailed, with a line
// on stderr a job that did not. Interrupted: CANCELLED with a message that says that the jobs go on.
absl::StatusOr<int> WatchJobs(Session& session, const std::vector<std::string>& ids,
                              const WatchOptions& options);

}  // namespace ovi::client
