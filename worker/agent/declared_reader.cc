#include <utility>

#include "worker/agent/gpu_reader.h"

namespace ovi {
namespace {

class DeclaredReader final : public GpuReader {
 public:
  explicit DeclaredReader(std::vector<GpuReading> gpus) : gpus_(std::move(gpus)) {}

  std::vector<GpuReading> Read() override { return gpus_; }

 private:
  const std::vector<GpuReading> gpus_;
};

}  // namespace

std::unique_ptr<GpuReader> MakeDeclaredReader(std::vector<DeclaredGpu> gpus) {
  std::vector<GpuReading> readings;
  for (DeclaredGpu& gpu : gpus) {
    GpuReading& reading = readings.emplace_back();
    reading.index = static_cast<int>(readings.size()) - 1;
    reading.name = std::move(gpu.name);
    reading.declared = true;
    reading.bytes_total = gpu.bytes;
  }
  return std::make_unique<DeclaredReader>(std::move(readings));
}

}  // namespace ovi
