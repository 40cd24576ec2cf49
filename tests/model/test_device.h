// What a test of a model runs on: the CPU backend with a stream and an arena, and copies that wait.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"
#include "worker/model/runtime.h"

namespace ovi {

class TestDevice {
 public:
  // Guarded, a model that follows a device pointer itself dies, as it would with a GPU's memory. Every
  // operation then costs a few hundred microseconds more.
  enum class Guard { kOff, kOn };

  explicit TestDevice(std::int64_t bytes_max = std::int64_t{256} << 20, Guard guard = Guard::kOff)
      : backend_(guard == Guard::kOn ? MakeGuardBackend(MakeCpuBackend()) : MakeCpuBackend()),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(bytes_max)) {}

  Runtime runtime() { return {*backend_, *stream_, arena_}; }
  Arena& arena() { return arena_; }

  Tensor Put(const Shape& shape, const std::vector<float>& values) {
    const absl::StatusOr<Tensor> tensor = arena_.Allocate(DType::kF32, shape, "test input");
    OVI_CHECK(tensor.ok());
    stream_->Upload(*tensor, {values.data(), DType::kF32, shape});
    OVI_CHECK(stream_->Sync().ok());
    return *tensor;
  }

  std::vector<float> Get(const Tensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    stream_->Download(values.data(), tensor);
    OVI_CHECK(stream_->Sync().ok());
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
};

}  // namespace ovi
