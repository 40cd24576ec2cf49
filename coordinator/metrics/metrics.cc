#include "coordinator/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <exception>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/retry.h"

namespace ovi {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

constexpr std::array kStates = {core::JobState::kPending,   core::JobState::kConfiguring,
                                core::JobState::kRunning,   core::JobState::kCompleting,
                                core::JobState::kCompleted, core::JobState::kFailed,
                                core::JobState::kCancelled};

const Buckets kFastSeconds = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5};
const Buckets kStepSeconds = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};
const Buckets kLongSeconds = {0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600};
const Buckets kBatchSizes = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384};

double Seconds(core::TimeMs from, core::TimeMs to) {
  return static_cast<double>(to - from) / 1000.0;
}

}  // namespace

struct Metrics::Series {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::unique_ptr<prometheus::Exposer> exposer;

  Family<Gauge>& GaugeFamily(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry);
  }
  Family<Counter>& CounterFamily(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry);
  }
  Histogram& OneHistogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, buckets);
  }

  Family<Gauge>& jobs = GaugeFamily("ovi_jobs", "Jobs kept, by state.");
  Family<Counter>& attempts = CounterFamily("ovi_job_attempts_total", "Attempts that ended, by their end.");
  Counter& submitted = CounterFamily("ovi_jobs_submitted_total", "Jobs accepted.").Add({});
  Counter& refused = CounterFamily("ovi_jobs_refused_total", "Jobs refused at submit.").Add({});
  Histogram& queue_wait =
      OneHistogram("ovi_job_queue_wait_seconds", "From submit to the first attempt.", kLongSeconds);
  Histogram& run_time =
      OneHistogram("ovi_job_run_seconds", "From the first attempt to the end, completed jobs.", kLongSeconds);
  Histogram& step = OneHistogram("ovi_denoising_step_seconds", "One denoising step.", kStepSeconds);
  Histogram& submit =
      OneHistogram("ovi_submit_seconds", "From a submit's arrival to its durable answer.", kFastSeconds);
  Histogram& commit = OneHistogram("ovi_journal_commit_seconds",
                                   "One transaction of the journal, fsync included.", kFastSeconds);
  Histogram& batch = OneHistogram("ovi_journal_commit_changes", "Changes in one transaction.", kBatchSizes);
  Counter& groups_cold = CounterFamily("ovi_group_starts_total", "Groups started.").Add({});
  Counter& groups_warm =
      CounterFamily("ovi_group_reuses_total", "Attempts given to a group that was there already.").Add({});
  Histogram& group_start = OneHistogram("ovi_group_start_seconds",
                                        "From the order to start a group to its first call.", kStepSeconds);
  Family<Gauge>& nodes = GaugeFamily("ovi_nodes", "Nodes by state.");
  Family<Gauge>& gpu_total = GaugeFamily("ovi_gpu_memory_total_bytes", "Memory of a GPU.");
  Family<Gauge>& gpu_free = GaugeFamily("ovi_gpu_memory_free_bytes", "Memory of a GPU that nobody has.");
  Family<Gauge>& gpu_reserved =
      GaugeFamily("ovi_gpu_memory_reserved_bytes", "Memory of a GPU promised to groups.");

  std::map<core::JobState, Gauge*> job_gauges;
  std::map<core::AttemptEnd, Counter*> attempt_counters;
  std::map<std::pair<std::string, int>, std::array<Gauge*, 3>> gpu_gauges;  // total, free, reserved
  std::map<core::GroupId, core::TimeMs> starting;
  // By outcome. Counted along with the changes; anew when `recount` says so, since there may be 100,000 of
  // them.
  std::map<core::JobState, std::int64_t> finished;
  bool recount = true;

  void OnChange(const core::Change& change, const core::State& state);
  std::array<Gauge*, 3>& GpuGauges(const std::string& node, int index);
};

void Metrics::Series::OnChange(const core::Change& change, const core::State& state) {
  if (std::holds_alternative<core::JobAdded>(change)) {
    submitted.Increment();
  } else if (const auto* started = std::get_if<core::AttemptStarted>(&change)) {
    if (started->warm) groups_warm.Increment();
    const auto job = state.jobs.find(started->attempt.job);
    if (started->attempt.attempt == 1 && job != state.jobs.end()) {
      queue_wait.Observe(Seconds(job->second.submitted_at, started->at));
    }
  } else if (const auto* ended = std::get_if<core::AttemptEnded>(&change)) {
    auto& counter = attempt_counters[ended->end];
    if (counter == nullptr) counter = &attempts.Add({{"end", core::ToString(ended->end)}});
    counter->Increment();
  } else if (std::holds_alternative<core::JobForgotten>(change)) {
    recount = true;
  } else if (const auto* done = std::get_if<core::JobFinished>(&change)) {
    ++finished[done->state];
    const auto job = state.jobs.find(done->job);
    if (done->state == core::JobState::kCompleted && job != state.jobs.end() &&
        !job->second.attempts.empty()) {
      run_time.Observe(Seconds(job->second.attempts.front().started_at, done->at));
    }
  }
}

std::array<Gauge*, 3>& Metrics::Series::GpuGauges(const std::string& node, int index) {
  auto [found, added] = gpu_gauges.try_emplace({node, index});
  if (added) {
    const prometheus::Labels labels = {{"node", node}, {"gpu", absl::StrCat(index)}};
    found->second = {&gpu_total.Add(labels), &gpu_free.Add(labels), &gpu_reserved.Add(labels)};
  }
  return found->second;
}

Metrics::Metrics(std::unique_ptr<Series> series) : series_(std::move(series)) {}
Metrics::~Metrics() = default;

absl::StatusOr<std::unique_ptr<Metrics>> Metrics::Create(const std::string& address) {
  auto series = std::make_unique<Series>();
  series->GaugeFamily("ovi_coordinator_build_info", "Version of the coordinator.")
      .Add({{"version", OVI_VERSION}})
      .Set(1);
  for (const core::JobState state : kStates) {
    series->job_gauges[state] = &series->jobs.Add({{"state", core::ToString(state)}});
  }
  if (!address.empty()) {
    try {
      series->exposer = std::make_unique<prometheus::Exposer>(address, 1);
      series->exposer->RegisterCollectable(series->registry);
    } catch (const std::exception& error) {
      return absl::UnavailableError(absl::StrCat("metrics_address ", address, ": ", error.what()));
    }
  }
  return std::unique_ptr<Metrics>(new Metrics(std::move(series)));
}

void Metrics::OnEvent(const core::Event& event, const core::Outcome& outcome, const core::State& state) {
  for (const core::Change& change : outcome.changes) series_->OnChange(change, state);
  for (const core::Decision& decision : outcome.decisions) {
    if (const auto* start = std::get_if<core::StartGroup>(&decision)) {
      series_->groups_cold.Increment();
      series_->starting[start->group] = event.at;
    }
  }
  if (const auto* attached = std::get_if<core::GroupAttached>(&event.what)) {
    const auto began = series_->starting.find(attached->group.group);
    if (began == series_->starting.end()) return;
    series_->group_start.Observe(Seconds(began->second, event.at));
    series_->starting.erase(began);
  } else if (const auto* exited = std::get_if<core::GroupExited>(&event.what)) {
    series_->starting.erase(exited->group);
  } else if (const auto* progressed = std::get_if<core::AttemptProgressed>(&event.what)) {
    const core::Progress& progress = progressed->progress;
    if (progress.stage == core::Stage::kDenoise && progress.step > 0 && progress.seconds_per_step > 0) {
      series_->step.Observe(progress.seconds_per_step);
    }
  }
}

void Metrics::SetGauges(const core::State& state) {
  if (std::exchange(series_->recount, false)) {
    series_->finished.clear();
    for (const auto& [at, id] : state.finished) ++series_->finished[state.jobs.at(id).state];
  }
  std::map<core::JobState, std::int64_t> counts = series_->finished;
  for (const core::JobId id : state.active) ++counts[state.jobs.at(id).state];
  counts[core::JobState::kPending] = static_cast<std::int64_t>(state.queue.size());
  for (const auto& [job_state, gauge] : series_->job_gauges)
    gauge->Set(static_cast<double>(counts[job_state]));

  std::array<std::int64_t, 3> nodes{};  // ready, drained, lost
  for (const auto& [name, node] : state.nodes) {
    ++nodes[!node.connected ? 2 : state.drained.contains(name) ? 1 : 0];
    for (const core::GpuFacts& gpu : node.facts.gpus) {
      const std::int64_t free = core::BytesFree(state, node, gpu.index);
      auto& [total_gauge, free_gauge, reserved_gauge] = series_->GpuGauges(name, gpu.index);
      total_gauge->Set(static_cast<double>(gpu.bytes_total));
      free_gauge->Set(static_cast<double>(free));
      reserved_gauge->Set(static_cast<double>(core::BytesReserved(state, name, gpu.index)));
    }
  }
  const std::array words = {"ready", "drained", "lost"};
  for (std::size_t i = 0; i < words.size(); ++i) {
    series_->nodes.Add({{"state", words[i]}}).Set(static_cast<double>(nodes[i]));
  }
}

void Metrics::OnCommit(double seconds, std::size_t changes) {
  series_->commit.Observe(seconds);
  series_->batch.Observe(static_cast<double>(changes));
}

void Metrics::OnSubmit(double seconds, std::size_t refused) {
  series_->submit.Observe(seconds);
  series_->refused.Increment(static_cast<double>(refused));
}

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(series_->registry->Collect());
}

}  // namespace ovi
