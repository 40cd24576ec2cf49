// Follows several jobs to their ends, through restarts of the coordinator.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ovictl/connection.h"
#include "ovi/v1/job.pb.h"

namespace ovi::client {

// What the one who follows wants to hear. Both are called by the thread that called FollowJobs.
struct WatchEvents {
  // `jobs` as they are now, in the order asked for; jobs[index] is the one that
  // changed.
  std::function<void(const std::vector<v1::Job>& jobs, std::size_t index)> changed;
  // The connection was lost, with the reason; or "" when it is back.
  std::function<void(const std::string& reason)> outage;
};

// Returns the jobs once all have ended. CANCELLED when the user interrupts. The jobs are asked for first,
// with the errors of any call (UNAVAILABLE, NOT_FOUND, ...); from then on a lost connection is dialled again
// for as long as it takes. Each id once; there may be hundreds.
absl::StatusOr<std::vector<v1::Job>> FollowJobs(Connection& connection, const std::vector<std::string>& ids,
                                                const WatchEvents& events);

}  // namespace ovi::client
