#include "client/ovictl/job_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/format.h"
#include "client/ovictl/table.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

StepProgress ProgressOf(const v1::Progress& progress, const std::string& stage) {
  return {.stage = stage,
          .step = progress.step(),
          .steps = progress.steps(),
          .seconds_per_step = progress.seconds_per_step()};
}

std::string Gpus(const google::protobuf::RepeatedField<std::int32_t>& indices) {
  return absl::StrJoin(indices, ",");
}

// The attempt that goes on, or null.
const v1::Attempt* CurrentAttempt(const v1::Job& job) {
  if (job.attempts().empty() || HasEnded(job.state())) return nullptr;
  const v1::Attempt& last = *job.attempts().rbegin();
  return last.ended_at_ms() == 0 ? &last : nullptr;
}

std::string ErrorOf(const v1::Job& job) {
  const std::string end = EndWord(job.last_end());
  return absl::StrCat(end, end.empty() || job.error().empty() ? "" : ": ", job.error());
}

bool ShowsSteps(const v1::Job& job) {
  return job.state() == v1::JOB_STATE_RUNNING && job.progress().steps() > 0 && !job.cancel_requested();
}

// How near to its end: what to show first where not all jobs have room.
int Rank(const v1::Job& job) {
  if (HasEnded(job.state())) return 2;
  return job.state() == v1::JOB_STATE_PENDING ? 1 : 0;
}

std::string Counts(const std::vector<v1::Job>& jobs) {
  std::string counts;
  for (int number = v1::JOB_STATE_PENDING; number <= v1::JobState_MAX; ++number) {
    const auto state = static_cast<v1::JobState>(number);
    const auto count =
        std::count_if(jobs.begin(), jobs.end(), [state](const v1::Job& job) { return job.state() == state; });
    if (count > 0) absl::StrAppend(&counts, counts.empty() ? "" : ", ", count, " ", StateWord(state));
  }
  return counts;
}

// One job on one line of a terminal. The bar takes the room that is left; where there is none, the place
// goes.
std::string BarLine(const v1::Job& job, int id_columns, const Screen& screen) {
  constexpr int kStateColumns = 11;  // CONFIGURING
  constexpr int kBarColumnsMin = 8;
  constexpr int kBarColumnsMax = 30;
  const std::string id = OneLine(job.id());
  const std::string state = StateWord(job.state());
  const auto padding = [](int columns) {
    return std::string(static_cast<std::size_t>(std::max(columns, 0)), ' ');
  };
  const std::string head = absl::StrCat(id, padding(id_columns - DisplayWidth(id)), "  ",
                                        Tinted(state, TintOf(job.state()), screen.colours),
                                        padding(kStateColumns - DisplayWidth(state)), "  ");
  const int room = screen.columns - id_columns - kStateColumns - 4;
  if (room < kBarColumnsMin) return CutToWidth(absl::StrCat(id, "  ", state), screen.columns);
  std::string where = OneLine(WhereOf(job));
  if (!ShowsSteps(job)) {
    const std::string news = OneLine(JobNews(job));
    return head + CutToWidth(absl::StrCat(news, news.empty() || where.empty() ? "" : "  ", where), room);
  }
  const std::string stage = StageWord(job.progress().stage());
  const StepProgress progress = ProgressOf(job.progress(), stage);
  const int rest = DisplayWidth(FormatBar(progress, 0));
  if (room - rest - 2 - DisplayWidth(where) < kBarColumnsMin) where.clear();
  const int bar = room - rest - (where.empty() ? 0 : 2 + DisplayWidth(where));
  if (bar < kBarColumnsMin) return head + CutToWidth(JobNews(job), room);
  return absl::StrCat(head, FormatBar(progress, std::min(bar, kBarColumnsMax)), where.empty() ? "" : "  ",
                      where);
}

}  // namespace

std::string JobNews(const v1::Job& job) {
  if (job.cancel_requested() && !HasEnded(job.state())) return "will be cancelled";
  switch (job.state()) {
    case v1::JOB_STATE_PENDING:
      return job.pending_reason();
    case v1::JOB_STATE_RUNNING: {
      const std::string stage = StageWord(job.progress().stage());
      return job.progress().steps() > 0
                 ? absl::StrCat(stage, " ", FormatPace(ProgressOf(job.progress(), stage)))
                 : stage;
    }
    case v1::JOB_STATE_COMPLETED: {
      const std::string time = FormatSpan(job.started_at_ms(), job.finished_at_ms());
      return time.empty() ? "" : absl::StrCat("in ", time);
    }
    case v1::JOB_STATE_FAILED:
      return ErrorOf(job);
    default:
      return "";
  }
}

std::string WhereOf(const v1::Job& job) {
  const v1::Attempt* attempt = CurrentAttempt(job);
  if (attempt == nullptr) return "";
  return absl::StrCat("on ", attempt->node(), attempt->gpu_indices_size() == 1 ? " GPU " : " GPUs ",
                      Gpus(attempt->gpu_indices()), ", attempt ", attempt->number());
}

std::string JobLine(const v1::Job& job) {
  std::string line = absl::StrCat(job.id(), " ", StateWord(job.state()));
  for (const std::string& part : {JobNews(job), WhereOf(job)}) {
    if (!part.empty()) absl::StrAppend(&line, "  ", part);
  }
  return OneLine(line);
}

std::vector<std::string> WatchBlock(const std::vector<v1::Job>& jobs, const std::string& note,
                                    const Screen& screen) {
  std::vector<const v1::Job*> order;
  int id_columns = 0;
  for (const v1::Job& job : jobs) {
    order.push_back(&job);
    id_columns = std::max(id_columns, DisplayWidth(OneLine(job.id())));
  }
  const std::size_t extra_lines = (jobs.size() > 1 ? 1 : 0) + (note.empty() ? 0 : 1);
  const std::size_t room = static_cast<std::size_t>(std::max(screen.rows - 1, 3)) - extra_lines;
  // As they were named, unless some must stay out.
  if (jobs.size() > room) {
    std::stable_sort(order.begin(), order.end(),
                     [](const v1::Job* a, const v1::Job* b) { return Rank(*a) < Rank(*b); });
    order.resize(room);
  }
  std::vector<std::string> lines;
  for (const v1::Job* job : order) lines.push_back(BarLine(*job, id_columns, screen));
  if (jobs.size() > 1) {
    const std::string shown =
        order.size() < jobs.size() ? absl::StrCat(" (", order.size(), " of them shown)") : "";
    lines.push_back(CutToWidth(absl::StrCat(jobs.size(), " jobs: ", Counts(jobs), shown), screen.columns));
  }
  if (!note.empty()) lines.push_back(CutToWidth(OneLine(note), screen.columns));
  return lines;
}

std::string JobTable(const std::vector<v1::Job>& jobs, std::int64_t now_ms, const Screen& screen) {
  std::vector<Row> rows;
  for (const v1::Job& job : jobs) {
    const v1::Attempt* attempt = CurrentAttempt(job);
    const std::string stage = StageWord(job.progress().stage());
    const bool waits = job.state() == v1::JOB_STATE_PENDING && !job.pending_reason().empty();
    rows.push_back(
        {job.id(),
         {StateWord(job.state()), TintOf(job.state())},
         ShowsSteps(job) ? absl::StrCat(stage, " ", job.progress().step(), "/", job.progress().steps())
                         : std::string(),
         attempt != nullptr ? absl::StrCat(attempt->node(), ":", Gpus(attempt->gpu_indices())) : "",
         job.spec().user(),
         job.spec().name(),
         FormatSpan(job.submitted_at_ms(), now_ms),
         waits                                 ? absl::StrCat("(", job.pending_reason(), ")")
         : job.state() == v1::JOB_STATE_FAILED ? ErrorOf(job)
                                               : job.spec().text_prompt()});
  }
  return RenderTable({{"JOB"},
                      {"STATE"},
                      {"STAGE"},
                      {"WHERE"},
                      {"USER"},
                      {"NAME"},
                      {"AGE", Align::kRight},
                      {"PROMPT OR REASON"}},
                     rows, screen);
}

std::string JobDetails(const v1::Job& job, std::int64_t now_ms, const absl::TimeZone& zone,
                       const Screen& screen) {
  const v1::JobSpec& spec = job.spec();
  std::string out;
  constexpr int kLabelColumns = 11;
  const auto add = [&](std::string_view label, const std::string& value, Tint tint = Tint::kNone) {
    if (value.empty()) return;
    absl::StrAppend(&out, std::string(label), std::string(kLabelColumns - label.size(), ' '),
                    Tinted(OneLine(value), tint, screen.colours), "\n");
  };
  add("job", job.id());
  add("state", StateWord(job.state()), TintOf(job.state()));
  if (job.state() == v1::JOB_STATE_COMPLETED) {
    add("took", FormatSpan(job.started_at_ms(), job.finished_at_ms()));
  } else {
    add(job.state() == v1::JOB_STATE_FAILED    ? "error"
        : job.state() == v1::JOB_STATE_PENDING ? "reason"
                                               : "progress",
        JobNews(job));
  }
  add("where", WhereOf(job));
  add("name", spec.name());
  add("user", spec.user());
  add("model", spec.model_name());
  add("prompt", CutToWidth(OneLine(spec.text_prompt()), std::max(screen.columns - kLabelColumns, 20)));
  add("seed", spec.has_seed() ? absl::StrCat(spec.seed()) : "");
  add("priority", spec.priority() != 0 ? absl::StrCat(spec.priority()) : "");
  add("submitted", FormatTime(job.submitted_at_ms(), zone));
  add("started", FormatTime(job.started_at_ms(), zone));
  add("finished", FormatTime(job.finished_at_ms(), zone));
  for (const std::string& warning : job.warnings()) add("warning", warning, Tint::kWarning);
  for (const v1::Artifact& artifact : job.artifacts()) {
    add(KindWord(artifact.kind()),
        absl::StrCat(artifact.file_name(), "  ", FormatBytes(artifact.size_bytes())));
  }
  if (!job.attempts().empty()) absl::StrAppend(&out, "\n", AttemptTable(job, now_ms, screen));
  return out;
}

std::string AttemptTable(const v1::Job& job, std::int64_t now_ms, const Screen& screen) {
  std::vector<Row> rows;
  for (const v1::Attempt& attempt : job.attempts()) {
    const bool goes_on = attempt.ended_at_ms() == 0;
    const bool good = attempt.end() == v1::ATTEMPT_END_COMPLETED;
    std::int64_t peak = 0;
    std::int64_t host = 0;
    for (const v1::MemoryReport& report : attempt.memory()) {
      peak = std::max(peak, report.device_bytes_peak());
      host = std::max(host, report.host_bytes_planned());
    }
    rows.push_back({absl::StrCat(attempt.number()),
                    attempt.node(),
                    Gpus(attempt.gpu_indices()),
                    absl::StrCat(attempt.group_id(), attempt.warm() ? " (warm)" : ""),
                    VramModeWord(attempt.vram_mode()),
                    FormatSpan(attempt.started_at_ms(), goes_on ? now_ms : attempt.ended_at_ms()),
                    peak > 0 ? FormatBytes(peak) : "",
                    host > 0 ? FormatBytes(host) : "",
                    {goes_on ? "goes on" : EndWord(attempt.end()), goes_on ? Tint::kBusy
                                                                   : good  ? Tint::kGood
                                                                           : Tint::kBad},
                    attempt.message()});
  }
  return RenderTable({{"ATTEMPT", Align::kRight},
                      {"NODE"},
                      {"GPUS"},
                      {"GROUP"},
                      {"VRAM MODE"},
                      {"TIME", Align::kRight},
                      {"PEAK/GPU", Align::kRight},
                      {"HOST", Align::kRight},
                      {"END"},
                      {"MESSAGE"}},
                     rows, screen);
}

std::string PlanTable(const v1::PlanJobResponse& plan, const Screen& screen) {
  const auto yes_no = [](bool yes, Tint otherwise) {
    return yes ? Cell("yes", Tint::kGood) : Cell("no", otherwise);
  };
  std::vector<Row> rows;
  for (const v1::PlanOption& option : plan.options()) {
    rows.push_back({absl::StrCat(option.world_size()), VramModeWord(option.vram_mode()),
                    FormatBytes(option.bytes_per_rank()), yes_no(option.fits_now(), Tint::kWarning),
                    yes_no(option.fits_ever(), Tint::kBad),
                    option.node().empty() ? "" : absl::StrCat(option.node(), ":", Gpus(option.gpu_indices())),
                    option.reason()});
  }
  return RenderTable({{"GPUS", Align::kRight},
                      {"VRAM MODE"},
                      {"MEMORY/GPU", Align::kRight},
                      {"FITS NOW"},
                      {"FITS EVER"},
                      {"WHERE"},
                      {"REASON"}},
                     rows, screen);
}

}  // namespace ovi::client
