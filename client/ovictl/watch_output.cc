#include "client/ovictl/watch_output.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/json.h"
#include "client/ovictl/session.h"
#include "client/ovictl/terminal.h"

namespace ovi::client {
namespace {

void TellOutage(const std::string& reason) {
  std::fprintf(stderr, "ovictl: %s\n", reason.empty() ? "connected again" : reason.c_str());
}

class LineOutput final : public WatchOutput {
 public:
  void Changed(const std::vector<v1::Job>& jobs, std::size_t index) override {
    PrintLine(JobLine(jobs[index]));
  }
  void Outage(const std::string& reason) override { TellOutage(reason); }
  void Line(std::string_view line) override { PrintLine(line); }
};

class JsonOutput final : public WatchOutput {
 public:
  void Changed(const std::vector<v1::Job>& jobs, std::size_t index) override {
    PrintLine(JsonLine(jobs[index]));
  }
  void Outage(const std::string& reason) override { TellOutage(reason); }
  void Line(std::string_view line) override { PrintLine(line); }
};

// A block of lines that is drawn over itself.
class BarOutput final : public WatchOutput {
 public:
  void Changed(const std::vector<v1::Job>& jobs, std::size_t index) override {
    if (jobs_.size() == jobs.size()) {
      jobs_[index] = jobs[index];  // hundreds of jobs that change every second are not all copied
    } else {
      jobs_ = jobs;
    }
    Draw("");
  }
  void Outage(const std::string& reason) override {
    note_ = reason;
    Draw("");
  }
  void Line(std::string_view line) override { Draw(absl::StrCat(std::string(line), "\n")); }

 private:
  // `above` goes where the block was, the block below it.
  void Draw(const std::string& above) {
    std::string out = lines_drawn_ > 0 ? absl::StrCat("\x1b[", lines_drawn_, "A") : "";
    absl::StrAppend(&out, "\r\x1b[J", above);
    const std::vector<std::string> block = WatchBlock(jobs_, note_, CurrentScreen());
    for (const std::string& line : block) absl::StrAppend(&out, line, "\n");
    lines_drawn_ = block.size();
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fflush(stdout);
  }

  std::vector<v1::Job> jobs_;
  std::string note_;
  std::size_t lines_drawn_ = 0;
};

}  // namespace

std::unique_ptr<WatchOutput> MakeWatchOutput(WatchStyle style) {
  switch (style) {
    case WatchStyle::kBar:
      return std::make_unique<BarOutput>();
    case WatchStyle::kJson:
      return std::make_unique<JsonOutput>();
    case WatchStyle::kLines:
      break;
  }
  return std::make_unique<LineOutput>();
}

WatchStyle WatchStyleFor(bool json) {
  if (json) return WatchStyle::kJson;
  return CurrentScreen().terminal ? WatchStyle::kBar : WatchStyle::kLines;
}

}  // namespace ovi::client
