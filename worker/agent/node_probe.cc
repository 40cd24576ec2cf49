#include "worker/agent/node_probe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/agent/gpu_facts.h"
#include "worker/agent/host_facts.h"

namespace ovi {
namespace {

constexpr std::chrono::seconds kAgeMax{15};

}  // namespace

NodeProbe::NodeProbe(Parts parts) : parts_(std::move(parts)), latest_(Look()), looked_at_(Clock::now()) {}

NodeProbe::~NodeProbe() {
  Stop(std::chrono::hours(1));
}

void NodeProbe::Start(std::chrono::milliseconds pause) {
  ended_ = false;
  thread_ = std::thread([this, pause] { Run(pause); });
}

bool NodeProbe::Stop(std::chrono::milliseconds patience) {
  {
    std::unique_lock lock(mutex_);
    stop_ = true;
    changed_.notify_all();
    if (!changed_.wait_for(lock, patience, [this] { return ended_; })) return false;
  }
  if (thread_.joinable()) thread_.join();
  return true;
}

v1::NodeReport NodeProbe::Look() {
  v1::NodeReport report;
  *report.mutable_host() = ReadHostFacts(parts_.disk_path);
  const std::vector<GpuReading> gpus = parts_.gpus->Read();
  const std::vector<LivingGroup> groups = parts_.living();
  bool in_use = false;
  for (const GpuReading& gpu : gpus) in_use = in_use || !gpu.processes.empty();
  std::set<pid_t> ours;
  if (in_use) ours = OurProcesses(ListProcesses(), groups);
  for (const GpuReading& gpu : gpus) *report.add_gpus() = GpuFacts(gpu, ours, groups);
  return report;
}

void NodeProbe::Run(std::chrono::milliseconds pause) {
  std::unique_lock lock(mutex_);
  auto told = latest_.gpus();
  while (!changed_.wait_for(lock, pause, [this] { return stop_; })) {
    lock.unlock();
    v1::NodeReport now = Look();
    const bool news = IsNews(told, now.gpus());
    if (news) told = now.gpus();
    lock.lock();
    latest_ = std::move(now);
    looked_at_ = Clock::now();
    if (!news) continue;
    lock.unlock();
    parts_.news();
    lock.lock();
  }
  ended_ = true;
  changed_.notify_all();
}

v1::NodeReport NodeProbe::Latest(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  v1::NodeReport report = latest_;
  const auto age = std::chrono::floor<std::chrono::seconds>(now - looked_at_);
  if (age <= kAgeMax) return report;
  for (v1::Gpu& gpu : *report.mutable_gpus()) {
    if (gpu.declared()) continue;
    gpu.set_health(v1::GPU_HEALTH_FAULTY);
    gpu.set_fault(absl::StrCat("the driver has not answered for ", age.count(), " s"));
  }
  return report;
}

}  // namespace ovi
