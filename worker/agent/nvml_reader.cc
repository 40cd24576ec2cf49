// GPUs through NVML, loaded when the agent starts.
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/agent/gpu_reader.h"
#include "worker/agent/nvml_api.h"
#include "worker/agent/nvml_words.h"

namespace ovi {
namespace {

constexpr const char* kLibrary = "libnvidia-ml.so.1";
constexpr unsigned kProcessesMax = 1024;

class NvmlReader final : public GpuReader {
 public:
  static absl::StatusOr<std::unique_ptr<GpuReader>> Open(const std::string& library);
  explicit NvmlReader(const nvml::Api& api) : api_(api) {}
  ~NvmlReader() override;

  std::vector<GpuReading> Read() override;

 private:
  struct Gpu {
    nvml::Device device = nullptr;  // null when it was lost before we could ask
    GpuReading facts;               // what never changes, and the fault it had from the start
    std::string pci_bus_id;
    std::string xid_fault;  // stays
  };

  void AddGpu(unsigned index);
  void FindPeers();
  void WatchXids();
  void TakeXids();
  GpuReading Look(const Gpu& gpu) const;
  void ReadProcesses(nvml::Device device, GpuReading& reading) const;
  void ReadMemoryErrors(nvml::Device device, GpuReading& reading) const;
  std::string Describe(const char* call, nvml::Result result) const;
  // True when the call is there and worked. That the GPU is lost or needs a reset, whatever call says it, is
  // its fault; other errors mean that it cannot tell.
  template <typename Function, typename... Arguments>
  bool Ask(GpuReading& reading, const char* call, Function function, Arguments... arguments) const;

  const nvml::Api api_;
  std::vector<Gpu> gpus_;
  nvml::EventSet xids_ = nullptr;
};

std::string NumaNode(const std::string& bus_id) {
  const auto text =
      ReadSmallFile(absl::StrCat("/sys/bus/pci/devices/", SysfsPciName(bus_id), "/numa_node"), 64);
  const std::string node(text.ok() ? Trimmed(*text) : std::string_view());
  return node == "-1" ? "" : node;
}

void SetFault(GpuReading& reading, std::string fault) {
  if (reading.fault.empty()) reading.fault = std::move(fault);
}

std::string NvmlReader::Describe(const char* call, nvml::Result result) const {
  const char* text = api_.error_string(result);
  return absl::StrCat(call, ": ", text != nullptr ? text : absl::StrCat("error ", result).c_str());
}

template <typename Function, typename... Arguments>
bool NvmlReader::Ask(GpuReading& reading, const char* call, Function function, Arguments... arguments) const {
  if (function == nullptr) return false;
  const nvml::Result result = function(arguments...);
  if (result == nvml::kGpuIsLost || result == nvml::kResetRequired) SetFault(reading, Describe(call, result));
  return result == nvml::kSuccess;
}

absl::StatusOr<std::unique_ptr<GpuReader>> NvmlReader::Open(const std::string& library) {
  OVI_ASSIGN_OR_RETURN(const nvml::Api api, nvml::LoadApi(library));
  if (const nvml::Result result = api.init(); result != nvml::kSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("the NVIDIA driver does not work (nvmlInit: ", api.error_string(result),
                     "): declare GPUs in the YAML to run on the CPU"));
  }
  auto reader = std::make_unique<NvmlReader>(api);  // from here on it shuts NVML down
  unsigned count = 0;
  if (const nvml::Result result = api.count(&count); result != nvml::kSuccess)
    return absl::FailedPreconditionError(reader->Describe("nvmlDeviceGetCount", result));
  if (count == 0)
    return absl::FailedPreconditionError(
        "the NVIDIA driver has no GPU: declare GPUs in the YAML to run on the CPU");
  for (unsigned index = 0; index < count; ++index) reader->AddGpu(index);
  reader->FindPeers();
  reader->WatchXids();
  return reader;
}

NvmlReader::~NvmlReader() {
  if (xids_ != nullptr && api_.event_set_free != nullptr) api_.event_set_free(xids_);
  api_.shutdown();
}

void NvmlReader::AddGpu(unsigned index) {
  Gpu& gpu = gpus_.emplace_back();
  gpu.facts.index = static_cast<int>(index);
  gpu.facts.name = "unknown";
  if (const nvml::Result result = api_.handle(index, &gpu.device); result != nvml::kSuccess) {
    gpu.device = nullptr;
    gpu.facts.fault = Describe("nvmlDeviceGetHandleByIndex", result);
    return;
  }
  char text[96] = {};
  if (Ask(gpu.facts, "nvmlDeviceGetName", api_.name, gpu.device, text, 96u)) gpu.facts.name = text;
  if (Ask(gpu.facts, "nvmlDeviceGetUUID", api_.uuid, gpu.device, text, 96u)) gpu.facts.uuid = text;
  if (gpu.facts.uuid.empty()) SetFault(gpu.facts, "it does not tell its UUID, by which ranks would find it");
  nvml::PciInfo pci{};
  if (Ask(gpu.facts, "nvmlDeviceGetPciInfo", api_.pci, gpu.device, &pci)) {
    gpu.pci_bus_id = pci.bus_id;
    gpu.facts.numa_node = NumaNode(gpu.pci_bus_id);
  }
}

// NVLinks where there are any, else how far apart they are on the PCIe tree. Links to a switch reach every
// GPU on it.
void NvmlReader::FindPeers() {
  std::vector<std::map<std::string, int>> links(gpus_.size());  // remote bus id -> how many
  for (std::size_t i = 0; i < gpus_.size(); ++i) {
    for (unsigned link = 0; link < nvml::kNvLinksMax && gpus_[i].device != nullptr; ++link) {
      unsigned state = 0;
      nvml::PciInfo remote{};
      if (!Ask(gpus_[i].facts, "nvmlDeviceGetNvLinkState", api_.nvlink_state, gpus_[i].device, link, &state))
        break;
      if (state != nvml::kEnabled) continue;
      if (!Ask(gpus_[i].facts, "nvmlDeviceGetNvLinkRemotePciInfo", api_.nvlink_remote_pci, gpus_[i].device,
               link, &remote))
        continue;
      const bool is_gpu = std::any_of(gpus_.begin(), gpus_.end(),
                                      [&](const Gpu& gpu) { return gpu.pci_bus_id == remote.bus_id; });
      ++links[i][is_gpu ? remote.bus_id : "switch"];
    }
  }
  for (std::size_t i = 0; i < gpus_.size(); ++i) {
    for (std::size_t j = 0; j < gpus_.size(); ++j) {
      if (i == j || gpus_[i].device == nullptr || gpus_[j].device == nullptr) continue;
      GpuPeer peer{.index = static_cast<int>(j)};
      const int count = links[i][gpus_[j].pci_bus_id] + std::min(links[i]["switch"], links[j]["switch"]);
      unsigned level = 0;
      if (count > 0) {
        peer.kind = absl::StrCat("NV", count);
      } else if (Ask(gpus_[i].facts, "nvmlDeviceGetTopologyCommonAncestor", api_.common_ancestor,
                     gpus_[i].device, gpus_[j].device, &level)) {
        peer.kind = TopologyWord(level);
      }
      if (!peer.kind.empty()) gpus_[i].facts.peers.push_back(std::move(peer));
    }
  }
}

void NvmlReader::WatchXids() {
  if (api_.event_set_create == nullptr || api_.register_events == nullptr || api_.event_wait == nullptr)
    return;
  if (api_.event_set_create(&xids_) != nvml::kSuccess) {
    xids_ = nullptr;
    return;
  }
  for (const Gpu& gpu : gpus_) {
    if (gpu.device != nullptr) api_.register_events(gpu.device, nvml::kXidCriticalError, xids_);
  }
}

void NvmlReader::TakeXids() {
  nvml::EventData event{};
  while (xids_ != nullptr && api_.event_wait(xids_, &event, 0) == nvml::kSuccess) {
    if (event.type != nvml::kXidCriticalError) continue;
    for (Gpu& gpu : gpus_) {
      if (gpu.device != event.device) continue;
      const std::string_view fault = XidFault(event.data);
      Log(LogLevel::kWarning, "GPU reported an Xid",
          {{"gpu", gpu.facts.index}, {"xid", event.data}, {"faulty", !fault.empty()}});
      if (!fault.empty() && gpu.xid_fault.empty())
        gpu.xid_fault =
            absl::StrCat("Xid ", event.data, ": ", std::string(fault), "; reset it and restart the agent");
    }
  }
}

std::vector<GpuReading> NvmlReader::Read() {
  TakeXids();
  std::vector<GpuReading> readings;
  for (Gpu& gpu : gpus_) {
    readings.push_back(Look(gpu));
    // A GPU that is lost later is still known by its size.
    gpu.facts.bytes_total = readings.back().bytes_total;
  }
  return readings;
}

GpuReading NvmlReader::Look(const Gpu& gpu) const {
  GpuReading reading = gpu.facts;
  SetFault(reading, gpu.xid_fault);
  if (gpu.device == nullptr) return reading;
  nvml::Memory memory{};
  if (const nvml::Result result = api_.memory(gpu.device, &memory); result == nvml::kSuccess) {
    reading.bytes_total = static_cast<std::int64_t>(memory.total);
    reading.bytes_used = static_cast<std::int64_t>(memory.used);
  } else {
    SetFault(reading, Describe("nvmlDeviceGetMemoryInfo", result));
  }
  ReadProcesses(gpu.device, reading);
  ReadMemoryErrors(gpu.device, reading);
  unsigned value = 0;
  if (Ask(reading, "nvmlDeviceGetTemperature", api_.temperature, gpu.device, nvml::kTemperatureGpu, &value))
    reading.temperature_celsius = static_cast<int>(value);
  // The generation falls while the GPU idles, so the most it can do is told; the lanes do not.
  if (Ask(reading, "nvmlDeviceGetMaxPcieLinkGeneration", api_.pcie_generation_max, gpu.device, &value))
    reading.pcie_generation = static_cast<int>(value);
  if (Ask(reading, "nvmlDeviceGetCurrPcieLinkWidth", api_.pcie_lanes, gpu.device, &value))
    reading.pcie_lanes = static_cast<int>(value);
  return reading;
}

void NvmlReader::ReadProcesses(nvml::Device device, GpuReading& reading) const {
  const auto add = [&](const auto& processes, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      GpuProcessUse& use = reading.processes.emplace_back();
      use.pid = processes[i].pid;
      if (processes[i].bytes != nvml::kBytesNotAvailable)
        use.bytes = static_cast<std::int64_t>(processes[i].bytes);
    }
  };
  unsigned count = kProcessesMax;
  if (api_.processes != nullptr) {
    std::vector<nvml::ProcessV2> processes(kProcessesMax);
    if (Ask(reading, "nvmlDeviceGetComputeRunningProcesses", api_.processes, device, &count,
            processes.data()))
      add(processes, count);
  } else {
    std::vector<nvml::ProcessV1> processes(kProcessesMax);
    if (Ask(reading, "nvmlDeviceGetComputeRunningProcesses", api_.processes_v1, device, &count,
            processes.data()))
      add(processes, count);
  }
}

void NvmlReader::ReadMemoryErrors(nvml::Device device, GpuReading& reading) const {
  unsigned long long errors = 0;
  if (Ask(reading, "nvmlDeviceGetTotalEccErrors", api_.ecc_errors, device, nvml::kUncorrectedErrors,
          nvml::kVolatileCount, &errors)) {
    reading.ecc_errors_uncorrected = static_cast<std::int64_t>(errors);
  }
  unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;
  if (Ask(reading, "nvmlDeviceGetRemappedRows", api_.remapped_rows, device, &corrected, &uncorrected,
          &pending, &failed)) {
    if (failed != 0) SetFault(reading, "broken memory rows could not be remapped: it needs to be replaced");
    if (pending != 0) SetFault(reading, "broken memory rows wait to be remapped: reset it");
  }
  unsigned retiring = 0;
  if (Ask(reading, "nvmlDeviceGetRetiredPagesPendingStatus", api_.retired_pages_pending, device, &retiring) &&
      retiring == nvml::kEnabled) {
    SetFault(reading, "broken memory pages wait to be retired: reset it");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuReader>> OpenNvmlReader(const std::string& library) {
  return NvmlReader::Open(library.empty() ? kLibrary : library);
}

}  // namespace ovi
