// Memory of the first GPU, taken by this process: through the driver's own library, loaded when it is there.
#pragma once

#include <cstdint>
#include <memory>

namespace ovi {

class CudaMemory {
 public:
  // Null where there is no driver or no GPU. A context comes with it, whose size is the driver's business.
  static std::unique_ptr<CudaMemory> Take(std::int64_t bytes);
  virtual ~CudaMemory() = default;
};

}  // namespace ovi
