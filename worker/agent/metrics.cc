#include "worker/agent/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

prometheus::Family<prometheus::Gauge>& Gauges(prometheus::Registry& registry, const char* name,
                                              const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Counter>& Counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

struct AgentMetrics::Families {
  const std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  prometheus::Family<prometheus::Gauge>& gpu_total =
      Gauges(*registry, "ovi_agent_gpu_memory_total_bytes", "Memory of the GPU, or of what stands for one.");
  prometheus::Family<prometheus::Gauge>& gpu_foreign =
      Gauges(*registry, "ovi_agent_gpu_memory_foreign_bytes",
             "Memory in use on the GPU by anything but our groups.");
  prometheus::Family<prometheus::Gauge>& gpu_temperature =
      Gauges(*registry, "ovi_agent_gpu_temperature_celsius", "Temperature of the GPU.");
  prometheus::Family<prometheus::Gauge>& gpu_healthy =
      Gauges(*registry, "ovi_agent_gpu_healthy", "1 while the GPU is well, 0 while it is faulty.");
  prometheus::Family<prometheus::Gauge>& groups =
      Gauges(*registry, "ovi_agent_groups", "Worker groups that live on this node.");
  prometheus::Gauge& starting = groups.Add({{"state", "starting"}});
  prometheus::Gauge& running = groups.Add({{"state", "running"}});
  prometheus::Gauge& stopping = groups.Add({{"state", "stopping"}});
  prometheus::Family<prometheus::Counter>& starts =
      Counters(*registry, "ovi_agent_group_starts_total", "Orders to start a group, by their result.");
  prometheus::Counter& launched = starts.Add({{"result", "launched"}});
  prometheus::Counter& failed = starts.Add({{"result", "failed"}});
  prometheus::Histogram& start_seconds =
      prometheus::BuildHistogram()
          .Name("ovi_agent_group_start_seconds")
          .Help("From the order to start a group until its first process runs.")
          .Register(*registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5});
  prometheus::Gauge& connected =
      Gauges(*registry, "ovi_agent_coordinator_connected", "1 while the coordinator knows this agent.")
          .Add({});
  prometheus::Counter& reconnects = Counters(*registry, "ovi_agent_stream_reconnects_total",
                                             "Connections to the coordinator after the first.")
                                        .Add({});
  std::unique_ptr<prometheus::Exposer> exposer;
};

AgentMetrics::AgentMetrics(std::unique_ptr<Families> families) : families_(std::move(families)) {
  Gauges(*families_->registry, "ovi_agent_build_info", "1; the labels say which build this is.")
      .Add({{"version", OVI_VERSION}})
      .Set(1);
}
AgentMetrics::~AgentMetrics() = default;

absl::StatusOr<std::unique_ptr<AgentMetrics>> AgentMetrics::Create(const std::string& address) {
  std::unique_ptr<AgentMetrics> metrics(new AgentMetrics(std::make_unique<Families>()));
  if (address.empty()) return metrics;
  try {
    metrics->families_->exposer = std::make_unique<prometheus::Exposer>(address, 1);
    metrics->families_->exposer->RegisterCollectable(metrics->families_->registry);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("metrics_address ", address, ": cannot listen there (", error.what(), ")"));
  }
  return metrics;
}

int AgentMetrics::port() const {
  return families_->exposer == nullptr ? 0 : families_->exposer->GetListeningPorts().front();
}

void AgentMetrics::SetGpus(const v1::NodeReport& report) {
  for (const v1::Gpu& gpu : report.gpus()) {
    const prometheus::Labels labels = {{"gpu", absl::StrCat(gpu.index())}, {"name", gpu.name()}};
    families_->gpu_total.Add(labels).Set(static_cast<double>(gpu.bytes_total()));
    families_->gpu_foreign.Add(labels).Set(static_cast<double>(gpu.bytes_foreign()));
    families_->gpu_healthy.Add(labels).Set(gpu.health() == v1::GPU_HEALTH_OK ? 1 : 0);
    if (gpu.has_temperature_celsius()) families_->gpu_temperature.Add(labels).Set(gpu.temperature_celsius());
  }
}

void AgentMetrics::SetGroups(const GroupCounts& counts) {
  families_->starting.Set(counts.starting);
  families_->running.Set(counts.running);
  families_->stopping.Set(counts.stopping);
}

void AgentMetrics::CountStart(bool launched) {
  (launched ? families_->launched : families_->failed).Increment();
}

void AgentMetrics::ObserveStart(std::chrono::duration<double> seconds) {
  families_->start_seconds.Observe(seconds.count());
}

void AgentMetrics::SetConnected(bool connected) {
  families_->connected.Set(connected ? 1 : 0);
}

void AgentMetrics::CountReconnect() {
  families_->reconnects.Increment();
}

}  // namespace ovi
