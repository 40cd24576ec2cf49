// The judging half of the checks: figures in, verdicts out.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/format.h"
#include "base/text.h"
#include "client/ovictl/checks.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

}  // namespace

CheckResult JudgeDisk(const std::string& name, const std::string& folder, std::int64_t bytes_free) {
  CheckResult result{.name = name, .detail = absl::StrCat(folder, ": ", FormatBytes(bytes_free), " free")};
  if (bytes_free >= 5 * kGibibyte) return result;
  result.verdict = bytes_free < kGibibyte / 2 ? Verdict::kFail : Verdict::kWarning;
  result.hint = "make room: results and checkpoints are refused when the disk is full";
  return result;
}

CheckResult JudgeMemory(std::int64_t bytes_available, std::int64_t bytes_total) {
  CheckResult result{
      .name = "memory",
      .detail = absl::StrCat(FormatBytes(bytes_available), " available of ", FormatBytes(bytes_total))};
  if (bytes_available >= 4 * kGibibyte) return result;
  result.verdict = bytes_available < kGibibyte ? Verdict::kFail : Verdict::kWarning;
  result.hint = "end something: weights that do not stay on a GPU are held in host memory";
  return result;
}

CheckResult JudgeClock(std::int64_t offset_ms, std::int64_t round_trip_ms) {
  const std::int64_t apart = std::max<std::int64_t>(std::abs(offset_ms) - round_trip_ms / 2, 0);
  CheckResult result{.name = "clock"};
  if (apart <= 2000) {
    result.detail =
        absl::StrFormat("within %d ms of the coordinator's", std::max<std::int64_t>(apart, round_trip_ms));
    return result;
  }
  result.verdict = Verdict::kWarning;
  result.detail =
      absl::StrFormat("the coordinator's is %.1f s %s", std::abs(static_cast<double>(offset_ms)) / 1000,
                      offset_ms > 0 ? "ahead" : "behind");
  result.hint = "set both by NTP: ages and times in lists and logs are wrong";
  return result;
}

CheckResult JudgeNodes(const std::vector<v1::Node>& nodes) {
  int ready = 0;
  int gpus = 0;
  std::string rest;
  for (const v1::Node& node : nodes) {
    if (node.state() != v1::NODE_STATE_READY) {
      absl::StrAppend(&rest, ", ", node.name(), " ", StateWord(node.state()));
      continue;
    }
    ++ready;
    gpus += static_cast<int>(std::count_if(node.gpus().begin(), node.gpus().end(), [](const v1::Gpu& gpu) {
      return gpu.health() != v1::GPU_HEALTH_FAULTY;
    }));
  }
  CheckResult result{
      .name = "nodes",
      .detail = absl::StrCat(ready, " of ", nodes.size(), " ready, ", gpus, " healthy GPUs", rest)};
  if (gpus == 0) {
    result.verdict = Verdict::kFail;
    result.hint = nodes.empty() ? "start ovi-agent on the machines with the GPUs; until then jobs wait"
                                : "see ovictl nodes; until one is ready jobs wait";
  } else if (ready < static_cast<int>(nodes.size())) {
    result.verdict = Verdict::kWarning;
    result.hint = "see ovictl nodes";
  }
  return result;
}

std::string OpenMpiVersion(std::string_view text) {
  constexpr std::string_view kBegin = "mpirun (Open MPI) ";
  const std::size_t at = text.find(kBegin);
  if (at == std::string_view::npos) return "";
  text.remove_prefix(at + kBegin.size());
  return absl::StrCat("Open MPI ", std::string(Trimmed(text.substr(0, text.find('\n')))));
}

}  // namespace ovi::client
