#include "client/ovictl/job_ids.h"

#include <algorithm>
#include <set>

#include "client/ovictl/errors.h"
#include "client/ovictl/exit_code.h"

namespace ovi::client {

std::vector<std::string> Unique(const std::vector<std::string>& ids) {
  std::vector<std::string> unique;
  std::set<std::string> seen;
  for (const std::string& id : ids) {
    if (seen.insert(id).second) unique.push_back(id);
  }
  return unique;
}

absl::StatusOr<int> ForEachJob(const Session& session, const std::vector<std::string>& ids,
                               const std::function<absl::Status(const std::string& id)>& action) {
  int exit_code = kExitDone;
  for (const std::string& id : Unique(ids)) {
    const absl::Status status = action(id);
    if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsUnauthenticated(status) ||
        absl::IsCancelled(status)) {
      return status;
    }
    if (!status.ok()) exit_code = std::max(exit_code, ReportError(status, session.json));
  }
  return exit_code;
}

}  // namespace ovi::client
