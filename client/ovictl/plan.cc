// plan: where a job would run and with how much memory, or what of it would fit on a card.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/format.h"
#include "base/part_file.h"
#include "base/status.h"
#include "client/ovictl/card_plan.h"
#include "client/ovictl/card_plan_view.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/expand.h"
#include "client/ovictl/job_source.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/json.h"
#include "client/ovictl/terminal.h"
#include "client/ovictl/transfer.h"
#include "worker/job/vram_bytes.h"

namespace ovi::client {
namespace {

struct PlanOptions {
  JobSource source;
  CardChoice card;
  bool all = false;
  std::string svg;
};

// "planning: 5 modes and groups" on a terminal once it takes a while, and an end where the user wants one.
class PlanProgress {
 public:
  explicit PlanProgress(const Interrupt& interrupt) : interrupt_(interrupt) {}
  ~PlanProgress() {
    if (shown_) std::fputs("\r\x1b[K", stderr);
  }
  PlanProgress(const PlanProgress&) = delete;
  PlanProgress& operator=(const PlanProgress&) = delete;

  absl::Status Report(int rows) {
    if (interrupt_.triggered()) return absl::CancelledError("interrupted");
    if (!terminal_ || Clock::now() - begin_ < std::chrono::seconds(1)) return absl::OkStatus();
    std::fprintf(stderr, "\rplanning: %d modes and groups", rows);
    std::fflush(stderr);
    shown_ = true;
    return absl::OkStatus();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Interrupt& interrupt_;
  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  const Clock::time_point begin_ = Clock::now();
  bool shown_ = false;
};

absl::Status WriteSvg(const std::string& path, const CardPlan& plan) {
  const std::string svg = CardPlanSvg(plan);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  OVI_RETURN_IF_ERROR(file->Write({reinterpret_cast<const std::uint8_t*>(svg.data()), svg.size()}));
  return file->Commit();
}

absl::StatusOr<int> PlanOnCard(const Session& session, const JobSpec& job, const PlanOptions& options) {
  for (const std::string& warning : job.warnings) PrintWarning(warning);
  absl::StatusOr<CardPlan> plan = absl::InternalError("not planned");
  {
    PlanProgress progress(session.interrupt());
    plan =
        PlanForCard(job, options.card, options.all, [&progress](int rows) { return progress.Report(rows); });
  }
  if (!plan.ok()) return plan.status();
  if (session.json) {
    PrintLine(CardPlanJson(*plan));
  } else {
    std::fputs(CardPlanText(*plan, UncutScreen()).c_str(), stdout);
  }
  if (!options.svg.empty()) OVI_RETURN_IF_ERROR(WriteSvg(options.svg, *plan));
  const PlanRow& own = plan->own();
  if (own.fits) return kExitDone;
  return absl::FailedPreconditionError(absl::StrCat(
      "the job does not fit: ", ToString(own.vram_mode), " on ", ToString(own.gpus), " needs ",
      FormatBytes(own.bytes_needed), " of ", FormatBytes(plan->table.bytes_max), " on each GPU"));
}

absl::StatusOr<int> PlanOnCluster(const Session& session, const JobSpec& job) {
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

absl::StatusOr<int> Plan(const Session& session, const PlanOptions& options) {
  OVI_ASSIGN_OR_RETURN(JobSpec job, ReadJobSource(options.source));
  // Prompts and seeds change nothing about memory, and images of one list little: the first stands for all.
  job.prompts.resize(1);
  job.each_example_n_times = 1;
  if (options.card.given()) return PlanOnCard(session, job, options);
  for (const auto& [option, given] :
       {std::pair("--all", options.all), std::pair("--svg", !options.svg.empty())}) {
    if (given) {
      return absl::InvalidArgumentError(
          absl::StrCat(option, ": is about a card; give --gpu or --gpu-memory"));
    }
  }
  return PlanOnCluster(session, job);
}

}  // namespace

void AddPlanCommand(Commands& commands) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      commands.Add("plan", "Show where a job would run, and with how much memory; or what fits on a card",
                   [options](Session& session) { return Plan(session, *options); });
  AddJobSourceOptions(*command, options->source);
  command->add_option("--gpu", options->card.gpu,
                      "plan for this card, such as \"RTX 3060\", without a coordinator");
  command
      ->add_option("--gpu-memory", options->card.gpu_memory,
                   "plan for a card with so much memory, e.g. 12GiB, without a coordinator")
      ->transform(CLI::Validator(VramBytesArgument, "SIZE"));
  command->add_flag("--all", options->all, "of a card: every mode on 1, 2, 4 and 8 GPUs");
  command->add_option("--svg", options->svg, "of a card: draw the memory over the stages into this file");
}

}  // namespace ovi::client
