// What a Prometheus server sees of one of our programs.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// GET /metrics of 127.0.0.1:`port`: the body.
absl::StatusOr<std::string> ReadMetricsPage(int port);

// FAILED_PRECONDITION with what `promtool check metrics` complains of; NOT_FOUND where there is no promtool
// (tests/promtool.sh brings it).
absl::Status CheckWithPromtool(const std::string& page);

}  // namespace ovi
