#include "worker/agent/nvml_api.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace ovi::nvml {
namespace {

// The first of `names` that the library has; null where it has none.
template <typename Function, typename... Names>
void Find(void* library, Function& function, Names... names) {
  function = nullptr;
  for (const char* name : {names...}) {
    if (function == nullptr) function = reinterpret_cast<Function>(::dlsym(library, name));
  }
}

}  // namespace

absl::StatusOr<Api> LoadApi(const std::string& library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    const std::string text = reason != nullptr ? reason : "";
    const bool missing = text.find("No such file") != std::string::npos;
    return absl::FailedPreconditionError(absl::StrCat("no NVIDIA driver (",
                                                      missing ? library + " not found" : text,
                                                      "): declare GPUs in the YAML to run on the CPU"));
  }
  Api api{};
  Find(handle, api.init, "nvmlInit_v2");
  Find(handle, api.shutdown, "nvmlShutdown");
  Find(handle, api.error_string, "nvmlErrorString");
  Find(handle, api.count, "nvmlDeviceGetCount_v2");
  Find(handle, api.handle, "nvmlDeviceGetHandleByIndex_v2");
  Find(handle, api.name, "nvmlDeviceGetName");
  Find(handle, api.uuid, "nvmlDeviceGetUUID");
  Find(handle, api.memory, "nvmlDeviceGetMemoryInfo");
  if (api.init == nullptr || api.shutdown == nullptr || api.error_string == nullptr || api.count == nullptr ||
      api.handle == nullptr || api.name == nullptr || api.uuid == nullptr || api.memory == nullptr) {
    ::dlclose(handle);
    return absl::FailedPreconditionError(
        absl::StrCat(library, ": is not NVIDIA's management library, or is too old"));
  }
  Find(handle, api.processes_v1, "nvmlDeviceGetComputeRunningProcesses");
  Find(handle, api.processes, "nvmlDeviceGetComputeRunningProcesses_v3",
       "nvmlDeviceGetComputeRunningProcesses_v2");
  Find(handle, api.temperature, "nvmlDeviceGetTemperature");
  Find(handle, api.ecc_errors, "nvmlDeviceGetTotalEccErrors");
  Find(handle, api.remapped_rows, "nvmlDeviceGetRemappedRows");
  Find(handle, api.retired_pages_pending, "nvmlDeviceGetRetiredPagesPendingStatus");
  Find(handle, api.pcie_generation_max, "nvmlDeviceGetMaxPcieLinkGeneration");
  Find(handle, api.pcie_lanes, "nvmlDeviceGetCurrPcieLinkWidth");
  Find(handle, api.pci, "nvmlDeviceGetPciInfo_v3");
  Find(handle, api.common_ancestor, "nvmlDeviceGetTopologyCommonAncestor");
  Find(handle, api.nvlink_state, "nvmlDeviceGetNvLinkState");
  Find(handle, api.nvlink_remote_pci, "nvmlDeviceGetNvLinkRemotePciInfo_v2");
  Find(handle, api.event_set_create, "nvmlEventSetCreate");
  Find(handle, api.event_set_free, "nvmlEventSetFree");
  Find(handle, api.register_events, "nvmlDeviceRegisterEvents");
  Find(handle, api.event_wait, "nvmlEventSetWait_v2");
  return api;
}

}  // namespace ovi::nvml
