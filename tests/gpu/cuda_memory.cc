#include "tests/gpu/cuda_memory.h"

#include <dlfcn.h>

namespace ovi {
namespace {

// Of the CUDA driver API, as far as it is called here; 0 is success.
struct Driver {
  int (*init)(unsigned);
  int (*device)(int*, int);
  int (*retain_context)(void**, int);
  int (*release_context)(int);
  int (*set_context)(void*);
  int (*allocate)(unsigned long long*, std::size_t);
  int (*free)(unsigned long long);
};

template <typename Function>
bool Load(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

class TakenMemory final : public CudaMemory {
 public:
  TakenMemory(const Driver& driver, int device, unsigned long long address)
      : driver_(driver), device_(device), address_(address) {}
  ~TakenMemory() override {
    driver_.free(address_);
    driver_.release_context(device_);
  }

 private:
  const Driver driver_;
  const int device_;
  const unsigned long long address_;
};

}  // namespace

std::unique_ptr<CudaMemory> CudaMemory::Take(std::int64_t bytes) {
  void* const library =
      ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never unloaded, as the agent's NVML
  Driver driver{};
  if (library == nullptr || !Load(library, "cuInit", driver.init) ||
      !Load(library, "cuDeviceGet", driver.device) ||
      !Load(library, "cuDevicePrimaryCtxRetain", driver.retain_context) ||
      !Load(library, "cuDevicePrimaryCtxRelease_v2", driver.release_context) ||
      !Load(library, "cuCtxSetCurrent", driver.set_context) ||
      !Load(library, "cuMemAlloc_v2", driver.allocate) || !Load(library, "cuMemFree_v2", driver.free)) {
    return nullptr;
  }
  int device = 0;
  void* context = nullptr;
  unsigned long long address = 0;
  if (driver.init(0) != 0 || driver.device(&device, 0) != 0 || driver.retain_context(&context, device) != 0) {
    return nullptr;
  }
  if (driver.set_context(context) != 0 || driver.allocate(&address, static_cast<std::size_t>(bytes)) != 0) {
    driver.release_context(device);
    return nullptr;
  }
  return std::make_unique<TakenMemory>(driver, device, address);
}

}  // namespace ovi
