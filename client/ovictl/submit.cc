// submit: one job file becomes jobs of the cluster.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/secret.h"
#include "base/status.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/errors.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/expand.h"
#include "client/ovictl/job_source.h"
#include "client/ovictl/transfer.h"
#include "client/ovictl/watch.h"

namespace ovi::client {
namespace {

constexpr std::size_t kRequestIdBytesMax = 112;  // of the contract's 128: "-" and an index follow

struct SubmitArguments {
  JobSource source;
  bool watch = false;
  bool out_given = false;
  int priority = 0;
  std::string name;
  std::string request_id;
  std::int64_t count_limit = 1000;
};

absl::Status CheckRequestId(const std::string& id) {
  const bool printable =
      std::all_of(id.begin(), id.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (printable && id.size() <= kRequestIdBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--request-id: must be at most ", kRequestIdBytesMax,
                                                 " printable ASCII characters without blanks"));
}

// The error of a run that stopped at `done` of `count` jobs, said too where it may have left some behind: the
// call that failed submitted all of its jobs or, if it was refused, none.
absl::Status HalfWay(const absl::Status& status, std::size_t done, std::size_t count,
                     const std::string& request_id) {
  const bool unanswered =
      absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
  if (count > 1 && (done > 0 || unanswered)) {
    std::fprintf(
        stderr,
        "ovictl: %zu of %zu jobs were acknowledged; the same command with --request-id %s submits the rest\n",
        done, count, request_id.c_str());
  }
  return status;
}

void PrintSubmitted(const Session& session, const std::string& request_id,
                    const v1::SubmitJobResponse& response) {
  if (session.json) {
    const nlohmann::json line = {
        {"job_id", response.job_id()},
        {"request_id", request_id},
        {"warnings", std::vector<std::string>(response.warnings().begin(), response.warnings().end())}};
    PrintLine(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  PrintLine(response.job_id());
  for (const std::string& warning : response.warnings()) {
    PrintWarning(absl::StrCat("job ", response.job_id(), ": ", warning));
  }
}

// Ids ascend in the order of the prompts. Prints each.
absl::StatusOr<std::vector<std::string>> SubmitAll(Session& session, const std::vector<v1::JobSpec>& specs,
                                                   const std::string& request_id) {
  std::vector<std::string> ids;
  for (const v1::SubmitJobsRequest& batch : Batches(specs, request_id)) {
    // With the request ids, jobs that were taken before the connection broke are not taken twice.
    const absl::StatusOr<v1::SubmitJobsResponse> response = session.connection->Call(
        session.connection->jobs(), &v1::Jobs::Stub::SubmitJobs, batch, Retry::kWhileUnavailable);
    if (!response.ok()) {
      return HalfWay(OfBatch(response.status(), ids.size(), specs.size()), ids.size(), specs.size(),
                     request_id);
    }
    if (response->responses_size() != batch.requests_size()) {
      return absl::InternalError(absl::StrCat("the coordinator answered ", response->responses_size(),
                                              " jobs of ", batch.requests_size()));
    }
    for (int i = 0; i < batch.requests_size(); ++i) {
      ids.push_back(response->responses(i).job_id());
      PrintSubmitted(session, batch.requests(i).request_id(), response->responses(i));
    }
  }
  return ids;
}

// Where results go: --out, the job's own output_dir, OVI_OUT or the configuration; "" without --watch.
std::string ResultFolder(const Session& session, const SubmitArguments& arguments, const JobSpec& job) {
  if (!arguments.watch) return "";
  return !arguments.out_given && !job.output_dir.empty() ? job.output_dir : session.settings.out;
}

absl::StatusOr<int> Submit(Session& session, const SubmitArguments& arguments) {
  OVI_RETURN_IF_ERROR(CheckRequestId(arguments.request_id));
  if (arguments.out_given && !arguments.watch) {
    return absl::InvalidArgumentError(
        "--out: results are fetched with --watch only (or later: ovictl fetch)");
  }
  OVI_ASSIGN_OR_RETURN(const JobSpec job, ReadJobSource(arguments.source));
  for (const std::string& warning : ExpandWarnings(job)) PrintWarning(warning);
  if (!arguments.watch && !job.output_dir.empty()) {
    PrintWarning("output_dir: results are fetched with --watch only (or later: ovictl fetch)");
  }
  OVI_RETURN_IF_ERROR(CheckCount(job, arguments.count_limit));
  OVI_ASSIGN_OR_RETURN(const auto frames, CheckFrames(job));
  OVI_ASSIGN_OR_RETURN(const std::vector<v1::JobSpec> specs, Expand(job, {.user = session.settings.user,
                                                                          .name = arguments.name,
                                                                          .priority = arguments.priority,
                                                                          .first_frames = frames}));
  const std::string out = ResultFolder(session, arguments, job);
  if (!out.empty()) OVI_RETURN_IF_ERROR(CannotBegin(PrepareFolder(out)));

  OVI_RETURN_IF_ERROR(UploadFrames(*session.connection, frames));
  const std::string request_id =
      arguments.request_id.empty() ? NewSecret(SecretBits::k128) : arguments.request_id;
  OVI_ASSIGN_OR_RETURN(const std::vector<std::string> ids, SubmitAll(session, specs, request_id));
  if (!arguments.watch) return kExitDone;
  return WatchJobs(session, ids, {.out = out});
}

}  // namespace

void AddSubmitCommand(Commands& commands) {
  auto arguments = std::make_shared<SubmitArguments>();
  SettingFlags& settings = commands.options().settings;
  CLI::App* command =
      commands.Add("submit", "Submit jobs; prints their ids", [arguments, &settings](Session& session) {
        arguments->out_given = settings.out.has_value();
        return Submit(session, *arguments);
      });
  AddJobSourceOptions(*command, arguments->source);
  command->add_flag("--watch", arguments->watch, "show the jobs until they have ended");
  command->add_option("--out", settings.out, "with --watch: folder that results are fetched to (OVI_OUT)");
  command->add_option("--priority", arguments->priority, "higher runs first (default 0)")
      ->check(CLI::Range(-1000, 1000));
  command->add_option("--name", arguments->name, "a label of your own");
  command->add_option("--user", settings.user, "whose jobs they are (OVI_USER; default: the login name)");
  command->add_option("--request-id", arguments->request_id,
                      "makes a repeated submit safe: the same id and jobs are taken once (default: random)");
  command
      ->add_option("--count-limit", arguments->count_limit,
                   "refuse to submit more jobs than this (default 1000)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{10'000'000}));
}

}  // namespace ovi::client
