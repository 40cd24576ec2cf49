// What `doctor` looks at, each with a verdict and a hint.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "client/ovictl/session.h"

namespace ovi::client {

enum class Verdict { kOk, kWarning, kFail };

struct CheckResult {
  std::string name;  // one or two words
  Verdict verdict = Verdict::kOk;
  std::string detail;  // what was found
  std::string hint;    // what to do about it; "" when all is well
};

using Check = std::function<CheckResult()>;

// Of this machine, as one that computes: mpirun, ffmpeg, GPUs, models, memory.
std::vector<Check> MachineChecks();
// The folder and the disk it is on.
CheckResult CheckFolder(const std::string& name, const std::string& folder);
// Of the coordinator; each makes sense only where the one before did not fail. The session must outlive them.
std::vector<Check> ClusterChecks(Session& session);

// Verdicts on figures. Pure.
CheckResult JudgeDisk(const std::string& name, const std::string& folder, std::int64_t bytes_free);
CheckResult JudgeMemory(std::int64_t bytes_available, std::int64_t bytes_total);
// `offset_ms`: the coordinator's clock less ours; known no better than half of `round_trip_ms`.
CheckResult JudgeClock(std::int64_t offset_ms, std::int64_t round_trip_ms);
CheckResult JudgeNodes(const std::vector<v1::Node>& nodes);

// "Open MPI 4.1.4" from what `mpirun --version` says; "" when it is another MPI. Pure.
std::string OpenMpiVersion(std::string_view text);

}  // namespace ovi::client
