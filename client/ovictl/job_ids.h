// Commands that take several job ids.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ovictl/session.h"

namespace ovi::client {

// `ids` without those that came before.
std::vector<std::string> Unique(const std::vector<std::string>& ids);

// Calls `action` for each id once. What is wrong with one job is reported and does not keep the others from
// their turn: the result is the worst exit code. What is wrong with the connection, or an interruption, is
// returned at once.
absl::StatusOr<int> ForEachJob(const Session& session, const std::vector<std::string>& ids,
                               const std::function<absl::Status(const std::string& id)>& action);

}  // namespace ovi::client
