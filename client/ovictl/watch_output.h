// What `watch` shows while jobs change: a bar a job on a terminal, a line a change into a pipe, JSON lines.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ovi/v1/job.pb.h"

namespace ovi::client {

class WatchOutput {
 public:
  virtual ~WatchOutput() = default;
  virtual void Changed(const std::vector<v1::Job>& jobs, std::size_t index) = 0;
  // The state of the connection, in words; "" when it is good again.
  virtual void Outage(const std::string& reason) = 0;
  // A line of another kind that stays, such as the path of a result.
  virtual void Line(std::string_view line) = 0;
};

enum class WatchStyle { kBar, kLines, kJson };
std::unique_ptr<WatchOutput> MakeWatchOutput(WatchStyle style);
// kBar on a terminal, else kLines.
WatchStyle WatchStyleFor(bool json);

}  // namespace ovi::client
