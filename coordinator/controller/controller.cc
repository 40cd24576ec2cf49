#include "coordinator/controller/controller.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/controller/input_expiry.h"
#include "coordinator/core/retry.h"

namespace ovi {
namespace {

constexpr std::chrono::milliseconds kTickInterval{200};
constexpr std::chrono::seconds kGaugeInterval{1};
constexpr std::chrono::hours kExpiryInterval{1};

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

// The attempt that completed the job; {0, 0} where none did.
core::AttemptRef WinnerOf(const core::Job& job) {
  if (job.state != core::JobState::kCompleted || job.attempts.empty()) return {};
  return {job.id, job.attempts.back().number};
}

// What a crash may have left between a job's end in the journal and its files.
void TidyFiles(const core::State& state, ArtifactStore& artifacts) {
  artifacts.Sweep([&state](core::JobId id) { return state.jobs.contains(id); },
                  [&state](const core::AttemptRef& attempt) {
                    const core::Job& job = state.jobs.at(attempt.job);
                    const core::Attempt* const current = job.current();
                    return WinnerOf(job) == attempt ||
                           (current != nullptr && current->number == attempt.attempt);
                  });
  for (const auto& [at, id] : state.finished) {
    const core::AttemptRef winner = WinnerOf(state.jobs.at(id));
    if (winner.job == 0) continue;
    const absl::Status published = artifacts.Publish(winner);
    if (!published.ok()) {
      Log(LogLevel::kError, "result missing", {{"job", id}, {"error", published.message()}});
    }
  }
}

}  // namespace

struct Controller::Batch {
  std::vector<core::Change> changes;
  std::vector<core::Decision> decisions;
  std::vector<core::JobId> touched;
  std::vector<std::pair<Reply, core::Reply>> replies;
};

absl::StatusOr<std::unique_ptr<Controller>> Controller::Create(Parts parts, const core::Policy& policy) {
  core::State state;
  state.policy = policy;
  OVI_RETURN_IF_ERROR(
      parts.journal.Replay([&state](const core::Change& change) { return core::Apply(state, change); }));
  state.next_job = std::max(state.next_job, parts.journal.next_job());
  state.started_at = NowMs();
  // The watchdog of attempts counts from now, not from before the restart.
  for (const core::JobId id : state.active) state.jobs.at(id).last_sign_at = state.started_at;
  TidyFiles(state, parts.artifacts);
  Log(LogLevel::kInfo, "journal replayed",
      {{"jobs", state.jobs.size()}, {"pending", state.queue.size()}, {"active", state.active.size()}});
  return std::unique_ptr<Controller>(new Controller(std::move(parts), std::move(state)));
}

Controller::~Controller() {
  Stop();
}

void Controller::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Controller::Stop() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  queue_filled_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Controller::Post(EventKind what, Reply reply) {
  {
    const std::lock_guard lock(queue_mutex_);
    if (!stopping_) {
      queue_.push_back({std::move(what), std::move(reply)});
      queue_filled_.notify_one();
      return;
    }
  }
  if (reply) reply(absl::UnavailableError("the coordinator is stopping"));
}

void Controller::Loop() {
  auto next_tick = std::chrono::steady_clock::now();
  auto next_gauges = next_tick;
  auto next_expiry = next_tick + kExpiryInterval;
  for (bool stopping = false; !stopping;) {
    std::vector<Posted> events;
    {
      std::unique_lock lock(queue_mutex_);
      queue_filled_.wait_until(lock, next_tick, [this] { return stopping_ || !queue_.empty(); });
      stopping = stopping_;
      events.swap(queue_);
    }
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_tick) {
      next_tick = now + kTickInterval;
      events.push_back({core::Tick{}, nullptr});
    }
    Handle(std::move(events));
    if (now >= next_gauges) {
      next_gauges = now + kGaugeInterval;
      const std::lock_guard lock(state_mutex_);
      parts_.metrics.SetGauges(state_);
    }
    if (now >= next_expiry) {
      next_expiry = now + kExpiryInterval;
      parts_.artifacts.ExpireInputs(NowMs(), Read(InputsInUse));
    }
  }
}

void Controller::AdvanceAll(std::vector<Posted>& events, Batch& batch) {
  for (Posted& posted : events) {
    last_at_ = std::max(last_at_, NowMs());
    const core::Event event{.at = last_at_, .what = std::move(posted.what)};
    core::Outcome outcome = core::Advance(state_, event);
    parts_.metrics.OnEvent(event, outcome, state_);
    std::move(outcome.changes.begin(), outcome.changes.end(), std::back_inserter(batch.changes));
    std::move(outcome.decisions.begin(), outcome.decisions.end(), std::back_inserter(batch.decisions));
    batch.touched.insert(batch.touched.end(), outcome.touched.begin(), outcome.touched.end());
    if (posted.reply) batch.replies.emplace_back(std::move(posted.reply), std::move(outcome.reply));
  }
}

// Makes the batch durable, and the files of completed jobs visible.
absl::Status Controller::Commit(const Batch& batch) {
  if (batch.changes.empty()) return absl::OkStatus();
  const auto begin = std::chrono::steady_clock::now();
  OVI_RETURN_IF_ERROR(parts_.journal.Append(batch.changes));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  parts_.metrics.OnCommit(seconds.count(), batch.changes.size());
  for (const core::Change& change : batch.changes) {
    if (const auto* added = std::get_if<core::JobAdded>(&change)) {
      Log(LogLevel::kInfo, "job submitted",
          {{"job", added->job}, {"user", added->request.user}, {"model", added->request.model_name}});
    } else if (const auto* ended = std::get_if<core::AttemptEnded>(&change)) {
      Log(LogLevel::kInfo, "attempt ended",
          {{"job", ended->attempt.job},
           {"attempt", ended->attempt.attempt},
           {"end", core::ToString(ended->end)},
           {"message", ended->message}});
    }
    const auto* finished = std::get_if<core::JobFinished>(&change);
    if (finished == nullptr) continue;
    Log(LogLevel::kInfo, "job ended",
        {{"job", finished->job}, {"state", core::ToString(finished->state)}, {"error", finished->error}});
    if (finished->state == core::JobState::kCompleted) Publish(finished->job);
  }
  return absl::OkStatus();
}

void Controller::Publish(core::JobId id) {
  const absl::Status published = parts_.artifacts.Publish(WinnerOf(state_.jobs.at(id)));
  if (!published.ok()) {
    Log(LogLevel::kError, "publishing failed", {{"job", id}, {"error", published.message()}});
  }
}

void Controller::Handle(std::vector<Posted> events) {
  Batch batch;
  absl::Status written = absl::UnavailableError("the journal cannot be written");
  if (!journal_lost_) {
    // Held until all is on disk: nobody sees what a crash could still undo.
    const std::lock_guard lock(state_mutex_);
    AdvanceAll(events, batch);
    written = Commit(batch);
    journal_lost_ = !written.ok();
    if (journal_lost_) {
      Log(LogLevel::kError, "journal lost", {{"error", written.message()}});
      parts_.on_journal_lost(written);
    }
  } else {
    for (Posted& posted : events) batch.replies.emplace_back(std::move(posted.reply), written);
  }
  if (!written.ok()) {
    // The state is ahead of the disk, so nothing of it may be acted on or told.
    for (auto& [reply, result] : batch.replies) {
      if (reply) reply(absl::UnavailableError(written.message()));
    }
    return;
  }
  for (const core::Decision& decision : batch.decisions) CarryOut(decision);
  for (auto& [reply, result] : batch.replies) reply(result);
  std::sort(batch.touched.begin(), batch.touched.end());
  batch.touched.erase(std::unique(batch.touched.begin(), batch.touched.end()), batch.touched.end());
  watches_.Notify(batch.touched);
}

std::string Controller::AgentInstance(const std::string& node) const {
  return Read([&node](const core::State& state) -> std::string {
    const auto found = state.nodes.find(node);
    return found == state.nodes.end() || !found->second.connected ? "" : found->second.facts.instance_id;
  });
}

void Controller::CarryOut(const core::Decision& decision) {
  std::visit(Overloaded{
                 [this](const core::StartGroup& start) {
                   Log(LogLevel::kInfo, "group starting",
                       {{"group", start.group}, {"node", start.node}, {"ranks", start.gpu_indices.size()}});
                   parts_.commands.StartGroup(start, AgentInstance(start.node));
                 },
                 [this](const core::StopGroup& stop) {
                   Log(LogLevel::kInfo, "group stopping", {{"group", stop.group}, {"node", stop.node}});
                   parts_.commands.StopGroup(stop, AgentInstance(stop.node));
                 },
                 [this](const core::RunAttempt& run) {
                   const std::string spec = Read([&run](const core::State& state) {
                     const auto job = state.jobs.find(run.attempt.job);
                     return job == state.jobs.end() ? std::string() : job->second.spec;
                   });
                   if (spec.empty()) return;  // forgotten meanwhile
                   Log(LogLevel::kInfo, "attempt starting",
                       {{"job", run.attempt.job}, {"attempt", run.attempt.attempt}, {"group", run.group}});
                   parts_.commands.RunAttempt(run, spec);
                 },
                 [this](const core::CancelAttempt& cancel) { parts_.commands.CancelAttempt(cancel); },
                 [this](const core::AcknowledgeAttempt& acknowledge) {
                   parts_.commands.AcknowledgeAttempt(acknowledge);
                 },
                 [this](const core::DropUploads& drop) { parts_.artifacts.Drop(drop.attempt); },
                 [this](const core::DeleteJobFiles& gone) { parts_.artifacts.Delete(gone.job); },
             },
             decision);
}

}  // namespace ovi
