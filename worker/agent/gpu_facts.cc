#include "worker/agent/gpu_facts.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"

namespace ovi {
namespace {

constexpr std::int64_t kNewsBytes = 64 << 20;

std::int64_t BytesReserved(int gpu_index, std::span<const LivingGroup> groups) {
  std::int64_t bytes = 0;
  for (const LivingGroup& group : groups) {
    for (const int index : group.facts.gpu_indices()) {
      if (index == gpu_index) bytes += group.facts.bytes_per_rank();
    }
  }
  return bytes;
}

}  // namespace

std::set<pid_t> OurProcesses(std::span<const ProcessInfo> processes, std::span<const LivingGroup> groups) {
  std::set<pid_t> keepers;
  for (const LivingGroup& group : groups) {
    if (group.keeper_pid != 0) keepers.insert(group.keeper_pid);
  }
  return WithDescendants(processes, keepers);
}

std::int64_t BytesForeign(const GpuReading& gpu, const std::set<pid_t>& ours,
                          std::span<const LivingGroup> groups) {
  if (gpu.declared) return 0;
  std::int64_t own = 0;
  bool untold = false;
  for (const GpuProcessUse& process : gpu.processes) {
    if (!ours.contains(static_cast<pid_t>(process.pid))) continue;
    own += process.bytes.value_or(0);
    untold = untold || !process.bytes;
  }
  if (untold) own = std::max(own, BytesReserved(gpu.index, groups));
  return std::max<std::int64_t>(gpu.bytes_used - own, 0);
}

v1::Gpu GpuFacts(const GpuReading& gpu, const std::set<pid_t>& ours, std::span<const LivingGroup> groups) {
  v1::Gpu facts;
  facts.set_index(gpu.index);
  facts.set_name(Escaped(gpu.name));
  facts.set_uuid(Escaped(gpu.uuid));
  facts.set_bytes_total(gpu.bytes_total);
  facts.set_bytes_foreign(BytesForeign(gpu, ours, groups));
  facts.set_declared(gpu.declared);
  facts.set_health(gpu.fault.empty() ? v1::GPU_HEALTH_OK : v1::GPU_HEALTH_FAULTY);
  facts.set_fault(Escaped(gpu.fault));
  if (gpu.temperature_celsius) facts.set_temperature_celsius(*gpu.temperature_celsius);
  if (gpu.ecc_errors_uncorrected) facts.set_ecc_errors_uncorrected(*gpu.ecc_errors_uncorrected);
  if (gpu.pcie_generation) facts.set_pcie_generation(*gpu.pcie_generation);
  if (gpu.pcie_lanes) facts.set_pcie_lanes(*gpu.pcie_lanes);
  for (const GpuProcessUse& process : gpu.processes) {
    v1::GpuProcess& told = *facts.add_processes();
    told.set_pid(process.pid);
    told.set_bytes(process.bytes.value_or(0));
    told.set_ours(ours.contains(static_cast<pid_t>(process.pid)));
  }
  for (const GpuPeer& peer : gpu.peers) {
    v1::GpuLink& link = *facts.add_links();
    link.set_peer_index(peer.index);
    link.set_kind(peer.kind);
  }
  facts.set_numa_node(gpu.numa_node);
  return facts;
}

bool IsNews(const google::protobuf::RepeatedPtrField<v1::Gpu>& told,
            const google::protobuf::RepeatedPtrField<v1::Gpu>& now) {
  if (told.size() != now.size()) return true;
  for (int i = 0; i < now.size(); ++i) {
    if (told[i].health() != now[i].health() || told[i].fault() != now[i].fault()) return true;
    if (told[i].bytes_total() != now[i].bytes_total()) return true;
    if (std::abs(told[i].bytes_foreign() - now[i].bytes_foreign()) > kNewsBytes) return true;
  }
  return false;
}

}  // namespace ovi
