// The GPUs of this node: real ones through NVML, or declared ones that stand for memory to compute within on
// the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

struct GpuProcessUse {
  std::int64_t pid = 0;
  std::optional<std::int64_t> bytes;  // nullopt where the driver does not tell
};

struct GpuPeer {
  int index = 0;
  std::string kind;  // "NV4", "PIX", "PXB", "PHB", "NODE", "SYS", as nvidia-smi topo calls it
};

// One look at one GPU.
struct GpuReading {
  int index = 0;
  std::string name;
  std::string uuid;  // "" for a declared one
  bool declared = false;
  std::int64_t bytes_total = 0;
  std::int64_t bytes_used = 0;  // by anybody, the driver included
  std::string fault;            // one line; "" when it is well
  std::optional<int> temperature_celsius;
  std::optional<std::int64_t> ecc_errors_uncorrected;
  std::optional<int> pcie_generation;
  std::optional<int> pcie_lanes;
  std::vector<GpuProcessUse> processes;
  std::vector<GpuPeer> peers;
  std::string numa_node;  // "" where unknown
};

// Thread-compatible.
class GpuReader {
 public:
  virtual ~GpuReader() = default;

  // Entry i has index i; how many there are, and their names and UUIDs, never changes. Never fails as a
  // whole: what a GPU cannot tell because it is broken becomes its fault.
  virtual std::vector<GpuReading> Read() = 0;
};

struct DeclaredGpu {
  std::string name;
  std::int64_t bytes = 0;
  int share = 1;  // how fast it is beside the others

  bool operator==(const DeclaredGpu&) const = default;
};

std::unique_ptr<GpuReader> MakeDeclaredReader(std::vector<DeclaredGpu> gpus);

// `library`: "" = libnvidia-ml.so.1 as the system finds it. FAILED_PRECONDITION in plain words when there is
// no driver, when the library does not work, or when it knows no GPU.
absl::StatusOr<std::unique_ptr<GpuReader>> OpenNvmlReader(const std::string& library);

}  // namespace ovi
