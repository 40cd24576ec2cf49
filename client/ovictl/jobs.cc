// status, list, logs, cancel: jobs one looks at or ends.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/status.h"
#include "base/text.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/job_ids.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/json.h"
#include "client/ovictl/terminal.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

using Ids = std::vector<std::string>;

absl::StatusOr<int> Status(Session& session, const Ids& ids) {
  const char* gap = "";
  return ForEachJob(session, ids, [&](const std::string& id) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(const v1::Job job, session.connection->GetJob(id));
    if (session.json) {
      PrintLine(JsonLine(job));
      return absl::OkStatus();
    }
    const std::string details = JobDetails(job, NowMs(), absl::LocalTimeZone(), CurrentScreen());
    std::printf("%s%s", gap, details.c_str());
    gap = "\n";
    return absl::OkStatus();
  });
}

struct LogArguments {
  std::string id;
  std::int32_t attempt = 0;
  std::int64_t kib = 64;
};

absl::StatusOr<int> Logs(Session& session, const LogArguments& arguments) {
  OVI_ASSIGN_OR_RETURN(const v1::Job job, session.connection->GetJob(arguments.id));
  v1::GetAttemptLogRequest request;
  request.set_job_id(arguments.id);
  request.set_attempt(arguments.attempt);
  request.set_size_bytes_max(arguments.kib * 1024);
  const auto fetch = [&] {
    return session.connection->Call(session.connection->jobs(), &v1::Jobs::Stub::GetAttemptLog, request);
  };
  if (session.json) {
    OVI_ASSIGN_OR_RETURN(const v1::GetAttemptLogResponse log, fetch());
    PrintLine(JsonLine(log));
    return kExitDone;
  }
  std::printf("job %s\n", JobLine(job).c_str());
  if (job.attempts().empty()) return kExitDone;
  std::printf("\n%s\n", AttemptTable(job, NowMs(), UncutScreen()).c_str());
  std::fflush(stdout);  // what is known is shown, even where the node is away
  OVI_ASSIGN_OR_RETURN(const v1::GetAttemptLogResponse log, fetch());
  if (log.text().empty()) {
    std::printf("attempt %d: its ranks have printed nothing\n", log.attempt().number());
    return kExitDone;
  }
  std::printf("attempt %d: what the ranks of group %s on node %s printed last\n", log.attempt().number(),
              OneLine(log.attempt().group_id()).c_str(), OneLine(log.attempt().node()).c_str());
  std::istringstream text(log.text());
  for (std::string line; std::getline(text, line);) PrintLine(absl::StrCat("  ", OneLine(line)));
  return kExitDone;
}

absl::StatusOr<int> Cancel(Session& session, const Ids& ids) {
  return ForEachJob(session, ids, [&](const std::string& id) -> absl::Status {
    v1::CancelJobRequest request;
    request.set_job_id(id);
    OVI_ASSIGN_OR_RETURN(
        const v1::CancelJobResponse response,
        session.connection->Call(session.connection->jobs(), &v1::Jobs::Stub::CancelJob, request));
    PrintLine(session.json ? JsonLine(response.job()) : JobLine(response.job()));
    return absl::OkStatus();
  });
}

struct ListArguments {
  std::vector<std::string> states;
  std::string user;
  std::int64_t limit = 50;
  bool all = false;
  bool quiet = false;
};

void PrintJobs(const Session& session, const std::vector<v1::Job>& jobs, bool quiet) {
  if (!session.json && !quiet) {
    std::fputs(JobTable(jobs, NowMs(), CurrentScreen()).c_str(), stdout);
    return;
  }
  for (const v1::Job& job : jobs) PrintLine(session.json ? JsonLine(job) : OneLine(job.id()));
}

absl::StatusOr<int> List(Session& session, const ListArguments& arguments) {
  constexpr std::int64_t kPageMax = 1000;
  v1::ListJobsRequest request;
  request.set_user(arguments.user);
  for (const std::string& word : arguments.states) {
    const std::optional<v1::JobState> state = ParseState(word);
    if (!state) {
      return absl::InvalidArgumentError(
          absl::StrCat("--state: must be one of ", StateWords(), ", got ", Quoted(word)));
    }
    request.add_states(*state);
  }
  std::vector<v1::Job> jobs;
  const std::int64_t limit = arguments.all ? std::int64_t{1} << 62 : arguments.limit;
  do {
    const std::int64_t missing = limit - static_cast<std::int64_t>(jobs.size());
    request.set_page_size(static_cast<std::int32_t>(std::min(missing, kPageMax)));
    OVI_ASSIGN_OR_RETURN(
        v1::ListJobsResponse page,
        session.connection->Call(session.connection->jobs(), &v1::Jobs::Stub::ListJobs, request));
    for (v1::Job& job : *page.mutable_jobs()) {
      if (static_cast<std::int64_t>(jobs.size()) < limit) jobs.push_back(std::move(job));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<std::int64_t>(jobs.size()) < limit);
  PrintJobs(session, jobs, arguments.quiet);
  if (!request.page_token().empty() && !arguments.quiet) {
    std::fprintf(stderr, "ovictl: these are the newest %zu; --limit or --all show more\n", jobs.size());
  }
  return kExitDone;
}

}  // namespace

void AddJobCommands(Commands& commands) {
  const auto ids_for = [](CLI::App* command, const std::shared_ptr<Ids>& ids) {
    command->add_option("JOB", *ids, "job ids")->required();
  };
  auto status_ids = std::make_shared<Ids>();
  ids_for(commands.Add("status", "All that is known of jobs",
                       [status_ids](Session& session) { return Status(session, *status_ids); }),
          status_ids);

  auto list = std::make_shared<ListArguments>();
  CLI::App* list_command = commands.Add("list", "The newest jobs, one a line",
                                        [list](Session& session) { return List(session, *list); });
  list_command->add_option("--state", list->states, "pending, running, failed, ...; may be repeated")
      ->allow_extra_args(false);
  list_command->add_option("--user", list->user, "of this user only");
  list_command->add_option("--limit", list->limit, "at most so many (default 50)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}));
  list_command->add_flag("--all", list->all, "without a limit");
  list_command->add_flag("-q,--quiet", list->quiet, "ids only");

  auto log = std::make_shared<LogArguments>();
  CLI::App* log_command = commands.Add(
      "logs", "The attempts of a job, how they ended, and what the ranks of the last one printed",
      [log](Session& session) { return Logs(session, *log); });
  log_command->add_option("JOB", log->id, "job id")->required();
  log_command->add_option("--attempt", log->attempt, "of this attempt, not the last")
      ->check(CLI::Range(std::int32_t{1}, std::int32_t{1'000'000}));
  log_command->add_option("--kib", log->kib, "at most so much of its end (default 64)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1024}));

  auto cancel_ids = std::make_shared<Ids>();
  ids_for(commands.Add("cancel", "End jobs",
                       [cancel_ids](Session& session) { return Cancel(session, *cancel_ids); }),
          cancel_ids);
}

}  // namespace ovi::client
