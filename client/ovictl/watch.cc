#include "client/ovictl/watch.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/fetch.h"
#include "client/ovictl/job_ids.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/watcher.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

class Watch {
 public:
  Watch(Session& session, const std::vector<std::string>& ids, const WatchOptions& options)
      : session_(session),
        ids_(Unique(ids)),
        options_(options),
        output_(MakeWatchOutput(options.quiet && !session.json ? WatchStyle::kLines
                                                               : WatchStyleFor(session.json))) {}

  absl::StatusOr<int> Run() {
    const WatchEvents events = {
        .changed = [this](const std::vector<v1::Job>& jobs, std::size_t index) { Changed(jobs, index); },
        .outage = [this](const std::string& reason) { output_->Outage(reason); }};
    const absl::StatusOr<std::vector<v1::Job>> jobs = FollowJobs(*session_.connection, ids_, events);
    if (absl::IsCancelled(jobs.status())) {
      return absl::CancelledError(absl::StrCat(GoingOn(), unfetched_.empty() ? "" : "; ", Unfetched()));
    }
    if (!jobs.ok()) return jobs.status();
    if (!unfetched_.empty()) return absl::CancelledError(absl::StrCat("interrupted; ", Unfetched()));
    bool failed = !fetch_errors_.empty();
    for (const absl::Status& error : fetch_errors_) ReportError(error, session_.json);
    for (const v1::Job& job : *jobs) {
      if (job.state() == v1::JOB_STATE_COMPLETED) continue;
      std::fprintf(stderr, "ovictl: job %s\n", JobLine(job).c_str());
      failed = true;
    }
    return failed ? kExitFailed : kExitDone;
  }

 private:
  void Changed(const std::vector<v1::Job>& jobs, std::size_t index) {
    const v1::Job& job = jobs[index];
    ended_.resize(ids_.size());
    ended_[index] = HasEnded(job.state());
    if (!options_.quiet || ended_[index]) output_->Changed(jobs, index);
    if (job.state() == v1::JOB_STATE_COMPLETED && !options_.out.empty()) Fetch(job);
  }

  void Fetch(const v1::Job& job) {
    const absl::Status status = FetchJob(session_, job, {.out = options_.out},
                                         [this](std::string_view line) { output_->Line(line); });
    if (absl::IsCancelled(status)) {
      unfetched_.push_back(job.id());
    } else if (!status.ok()) {
      fetch_errors_.push_back(status);
    }
  }

  // Of the jobs whose results were on their way; "" where there is none.
  std::string Unfetched() const {
    if (unfetched_.empty()) return "";
    const std::string ids = absl::StrJoin(unfetched_, " ");
    return absl::StrCat("not all results of job ", ids, " were fetched (ovictl fetch ", ids, ")");
  }

  // What an interrupted user should know.
  std::string GoingOn() const {
    constexpr std::size_t kIdsShown = 5;
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      if (i >= ended_.size() || !ended_[i]) ids.push_back(ids_[i]);
    }
    if (ids.size() == 1)
      return absl::StrCat("interrupted; job ", ids[0], " goes on (ovictl watch ", ids[0], ")");
    if (ids.size() > kIdsShown) return absl::StrCat("interrupted; ", ids.size(), " jobs go on (ovictl list)");
    return absl::StrCat("interrupted; ", ids.size(), " jobs go on (ovictl watch ", absl::StrJoin(ids, " "),
                        ")");
  }

  Session& session_;
  const std::vector<std::string> ids_;
  const WatchOptions& options_;
  const std::unique_ptr<WatchOutput> output_;
  std::vector<bool> ended_;
  std::vector<std::string> unfetched_;      // the user interrupted
  std::vector<absl::Status> fetch_errors_;  // told at the end: they would disturb the bars
};

}  // namespace

absl::StatusOr<int> WatchJobs(Session& session, const std::vector<std::string>& ids,
                              const WatchOptions& options) {
  return Watch(session, ids, options).Run();
}

void AddWatchCommands(Commands& commands) {
  const auto add = [&](const char* name, const char* description, bool quiet) {
    auto ids = std::make_shared<std::vector<std::string>>();
    CLI::App* command = commands.Add(name, description, [ids, quiet](Session& session) {
      return WatchJobs(session, *ids, {.quiet = quiet});
    });
    command->add_option("JOB", *ids, "job ids")->required();
  };
  add("watch", "Show jobs live until they have ended; Ctrl-C leaves them running", false);
  add("wait", "Wait until jobs have ended: exit code 0 when all completed, else 1", true);
}

}  // namespace ovi::client
