#include "tests/agent/fake_nvml.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "worker/agent/nvml_api.h"

// Handles are addresses of the GPUs, so that a wrong one shows.
namespace {

using ovi::FakeNvmlGpu;
using ovi::nvml::Device;
using ovi::nvml::Result;

constexpr Result kInvalidArgument = 2, kNotSupported = 3, kTimeout = 10;

FakeNvmlGpu* Gpu(Device device) {
  return reinterpret_cast<FakeNvmlGpu*>(device);
}

template <typename Value, typename Told>
Result Tell(Device device, Value* out, Told value) {
  if (Gpu(device)->other_result == 0) *out = static_cast<Value>(value);
  return Gpu(device)->other_result;
}

void SetText(char* out, unsigned size, const char* text) {
  std::snprintf(out, size, "%s", text);
}

}  // namespace

extern "C" {

ovi::FakeNvml fake_nvml;

Result nvmlInit_v2() {
  ++fake_nvml.init_calls;
  return fake_nvml.init_result;
}
Result nvmlShutdown() {
  ++fake_nvml.shutdown_calls;
  return 0;
}
const char* nvmlErrorString(Result result) {
  return result == 15 ? "GPU is lost" : result == 9 ? "Driver Not Loaded" : "Unknown Error";
}
Result nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(fake_nvml.gpu_count);
  return 0;
}
Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* device) {
  if (index >= static_cast<unsigned>(fake_nvml.gpu_count)) return kInvalidArgument;
  *device = reinterpret_cast<Device>(&fake_nvml.gpus[index]);
  return fake_nvml.gpus[index].handle_result;
}
Result nvmlDeviceGetName(Device device, char* text, unsigned size) {
  SetText(text, size, Gpu(device)->name);
  return 0;
}
Result nvmlDeviceGetUUID(Device device, char* text, unsigned size) {
  SetText(text, size, Gpu(device)->uuid);
  return 0;
}
Result nvmlDeviceGetMemoryInfo(Device device, ovi::nvml::Memory* memory) {
  const FakeNvmlGpu& gpu = *Gpu(device);
  if (gpu.memory_result != 0) return gpu.memory_result;
  *memory = {.total = gpu.bytes_total, .free = gpu.bytes_total - gpu.bytes_used, .used = gpu.bytes_used};
  return 0;
}
Result nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned* count,
                                               ovi::nvml::ProcessV2* processes) {
  const FakeNvmlGpu& gpu = *Gpu(device);
  if (gpu.other_result != 0) return gpu.other_result;
  *count = static_cast<unsigned>(gpu.process_count);
  for (int i = 0; i < gpu.process_count; ++i) processes[i] = {gpu.pids[i], gpu.process_bytes[i], ~0u, ~0u};
  return 0;
}
Result nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned* celsius) {
  return sensor == 0 ? Tell(device, celsius, Gpu(device)->temperature) : kInvalidArgument;
}
Result nvmlDeviceGetTotalEccErrors(Device device, unsigned type, unsigned counter,
                                   unsigned long long* count) {
  if (!Gpu(device)->has_ecc) return kNotSupported;
  return type == 1 && counter == 0 ? Tell(device, count, Gpu(device)->ecc_errors) : kInvalidArgument;
}
Result nvmlDeviceGetRemappedRows(Device device, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                                 unsigned* failed) {
  *corrected = *uncorrected = 0;
  *pending = Gpu(device)->rows_pending;
  return Tell(device, failed, Gpu(device)->rows_failed);
}
Result nvmlDeviceGetRetiredPagesPendingStatus(Device device, unsigned* pending) {
  return Tell(device, pending, Gpu(device)->pages_pending);
}
Result nvmlDeviceGetMaxPcieLinkGeneration(Device device, unsigned* generation) {
  return Tell(device, generation, Gpu(device)->pcie_generation);
}
Result nvmlDeviceGetCurrPcieLinkWidth(Device device, unsigned* lanes) {
  return Tell(device, lanes, Gpu(device)->pcie_lanes);
}
Result nvmlDeviceGetPciInfo_v3(Device device, ovi::nvml::PciInfo* pci) {
  SetText(pci->bus_id, sizeof(pci->bus_id), Gpu(device)->bus_id);
  return 0;
}
Result nvmlDeviceGetTopologyCommonAncestor(Device device, Device, unsigned* level) {
  return Tell(device, level, fake_nvml.topology_level);
}
Result nvmlDeviceGetNvLinkState(Device device, unsigned link, unsigned* state) {
  if (link >= 4) return kInvalidArgument;
  return Tell(device, state, Gpu(device)->nvlink_to[link] != nullptr ? 1 : 0);
}
Result nvmlDeviceGetNvLinkRemotePciInfo_v2(Device device, unsigned link, ovi::nvml::PciInfo* pci) {
  SetText(pci->bus_id, sizeof(pci->bus_id), Gpu(device)->nvlink_to[link]);
  return 0;
}
Result nvmlEventSetCreate(ovi::nvml::EventSet* set) {
  *set = reinterpret_cast<ovi::nvml::EventSet>(&fake_nvml);
  return 0;
}
Result nvmlEventSetFree(ovi::nvml::EventSet) {
  return 0;
}
Result nvmlDeviceRegisterEvents(Device, unsigned long long types, ovi::nvml::EventSet) {
  return types == 8 ? 0 : kInvalidArgument;
}
Result nvmlEventSetWait_v2(ovi::nvml::EventSet, ovi::nvml::EventData* event, unsigned) {
  if (fake_nvml.xid_count == 0) return kTimeout;
  *event = {.device = reinterpret_cast<Device>(&fake_nvml.gpus[fake_nvml.xids[0].gpu]),
            .type = 8,
            .data = fake_nvml.xids[0].xid};
  std::copy(fake_nvml.xids + 1, fake_nvml.xids + fake_nvml.xid_count, fake_nvml.xids);
  --fake_nvml.xid_count;
  return 0;
}

}  // extern "C"
