// Results of jobs, as a command hands them to the user.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/ovictl/session.h"
#include "ovi/v1/job.pb.h"

namespace ovi::client {

struct FetchOptions {
  std::string out;                      // folder, which must exist
  std::vector<v1::ArtifactKind> kinds;  // empty: all
};

// Fetches the results of a job and says a line for each file: its path, or JSON. FAILED_PRECONDITION when it
// has not completed; NOT_FOUND when it has no result of these kinds; else as FetchArtifact.
absl::Status FetchJob(Session& session, const v1::Job& job, const FetchOptions& options,
                      const std::function<void(std::string_view)>& say);

}  // namespace ovi::client
