// The part of NVIDIA's management library (NVML) that the agent calls, declared by hand: there is no nvml.h
// to rely on, and the library itself comes with the driver. Layouts and numbers are NVML's ABI, which NVIDIA
// keeps by giving a changed function a new suffix (_v2, _v3).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace ovi::nvml {

using Result = int;
using Device = struct DeviceHandle*;
using EventSet = struct EventSetHandle*;

inline constexpr Result kSuccess = 0;
inline constexpr Result kGpuIsLost = 15;
inline constexpr Result kResetRequired = 16;

inline constexpr unsigned kTemperatureGpu = 0;     // nvmlTemperatureSensors_t
inline constexpr unsigned kUncorrectedErrors = 1;  // nvmlMemoryErrorType_t
inline constexpr unsigned kVolatileCount = 0;      // nvmlEccCounterType_t: since the driver was loaded
inline constexpr unsigned kEnabled = 1;            // nvmlEnableState_t
inline constexpr unsigned kNvLinksMax = 18;
inline constexpr unsigned long long kXidCriticalError = 8;  // nvmlEventTypeXidCriticalError
inline constexpr unsigned long long kBytesNotAvailable = ~0ULL;

// nvmlGpuTopologyLevel_t
inline constexpr unsigned kTopologySingle = 10;
inline constexpr unsigned kTopologyMultiple = 20;
inline constexpr unsigned kTopologyHostBridge = 30;
inline constexpr unsigned kTopologyNode = 40;

struct Memory {  // nvmlMemory_t; `used` includes what the driver sets aside
  unsigned long long total, free, used;
};

struct ProcessV1 {  // of nvmlDeviceGetComputeRunningProcesses
  unsigned pid;
  unsigned long long bytes;
};

struct ProcessV2 {  // of _v2 and _v3
  unsigned pid;
  unsigned long long bytes;
  unsigned gpu_instance, compute_instance;
};

struct PciInfo {  // of nvmlDeviceGetPciInfo_v3 and nvmlDeviceGetNvLinkRemotePciInfo_v2
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct EventData {  // of nvmlEventSetWait_v2
  Device device;
  unsigned long long type, data;
  unsigned gpu_instance, compute_instance;
};

static_assert(sizeof(Memory) == 24 && sizeof(ProcessV1) == 16 && sizeof(ProcessV2) == 24 &&
              sizeof(PciInfo) == 68 && sizeof(EventData) == 32);

// The library, loaded. Entries that a driver may lack are null then; those of the first block never are.
struct Api {
  Result (*init)();
  Result (*shutdown)();
  const char* (*error_string)(Result);
  Result (*count)(unsigned*);
  Result (*handle)(unsigned, Device*);
  Result (*name)(Device, char*, unsigned);
  Result (*uuid)(Device, char*, unsigned);
  Result (*memory)(Device, Memory*);

  Result (*processes_v1)(Device, unsigned*, ProcessV1*);
  Result (*processes)(Device, unsigned*, ProcessV2*);  // _v3, or _v2
  Result (*temperature)(Device, unsigned, unsigned*);
  Result (*ecc_errors)(Device, unsigned, unsigned, unsigned long long*);
  Result (*remapped_rows)(Device, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                          unsigned* failed);
  Result (*retired_pages_pending)(Device, unsigned*);
  Result (*pcie_generation_max)(Device, unsigned*);
  Result (*pcie_lanes)(Device, unsigned*);
  Result (*pci)(Device, PciInfo*);
  Result (*common_ancestor)(Device, Device, unsigned*);
  Result (*nvlink_state)(Device, unsigned, unsigned*);
  Result (*nvlink_remote_pci)(Device, unsigned, PciInfo*);
  Result (*event_set_create)(EventSet*);
  Result (*event_set_free)(EventSet);
  Result (*register_events)(Device, unsigned long long, EventSet);
  Result (*event_wait)(EventSet, EventData*, unsigned timeout_ms);
};

// Loads `library` and its entries; calls none. FAILED_PRECONDITION when it is not there, or is not NVML. It
// is never unloaded: drivers leave threads behind.
absl::StatusOr<Api> LoadApi(const std::string& library);

}  // namespace ovi::nvml
