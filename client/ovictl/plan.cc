// plan: where a job would run and with how much memory.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/expand.h"
#include "client/ovictl/job_source.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/json.h"
#include "client/ovictl/terminal.h"
#include "client/ovictl/transfer.h"

namespace ovi::client {
namespace {

absl::StatusOr<int> Plan(Session& session, const JobSource& source) {
  OVI_ASSIGN_OR_RETURN(JobSpec job, ReadJobSource(source));
  // Prompts and seeds change nothing about memory, and images of one list little: the first stands for all.
  job.prompts.resize(1);
  job.each_example_n_times = 1;
  for (const std::string& warning : ExpandWarnings(job)) PrintWarning(warning);
  OVI_ASSIGN_OR_RETURN(const auto frames, CheckFrames(job));
  OVI_ASSIGN_OR_RETURN(const std::vector<v1::JobSpec> specs,
                       Expand(job, {.user = session.settings.user, .first_frames = frames}));
  OVI_RETURN_IF_ERROR(UploadFrames(*session.connection, frames));
  v1::PlanJobRequest request;
  *request.mutable_spec() = specs.front();
  OVI_ASSIGN_OR_RETURN(
      const v1::PlanJobResponse plan,
      session.connection->Call(session.connection->jobs(), &v1::Jobs::Stub::PlanJob, request));
  for (const std::string& warning : plan.warnings()) PrintWarning(warning);
  if (session.json) {
    PrintLine(JsonLine(plan));
  } else if (plan.options_size() > 0) {
    std::fputs(PlanTable(plan, UncutScreen()).c_str(), stdout);
  }
  const bool fits = std::any_of(plan.options().begin(), plan.options().end(),
                                [](const v1::PlanOption& option) { return option.fits_ever(); });
  if (fits) return kExitDone;
  return absl::FailedPreconditionError("no node that is known could ever run this job");
}

}  // namespace

void AddPlanCommand(Commands& commands) {
  auto source = std::make_shared<JobSource>();
  CLI::App* command = commands.Add("plan", "Show where a job would run, and with how much memory",
                                   [source](Session& session) { return Plan(session, *source); });
  AddJobSourceOptions(*command, *source);
}

}  // namespace ovi::client
