// What a data sheet says of a GPU, as far as plans need it.
#pragma once

#include <cstdint>
#include <string>

namespace ovi {

// Rates are those of the tensor cores for dense matrices, in operations a second (2 a multiply-add).
struct GpuModel {
  std::string name;
  std::int64_t bytes = 0;  // of memory, as the driver counts them
  double bf16_flops = 0;   // with f32 sums
  double fp8_flops = 0;    // with f32 sums; 0 where the card has none
  double int8_ops = 0;
  double memory_bytes_per_second = 0;
  double link_bytes_per_second = 0;  // PCIe, in each direction

  bool operator==(const GpuModel&) const = default;
};

// What the driver and a CUDA context with its libraries take of a card before a job gets anything; a desktop
// on the same card takes more. Measured on an H100 only: 480 MiB of the idle card, which NVML counts as used,
// and 526 MiB of a context (docs/benchmarks.md). Smaller cards are taken to need less of both.
inline constexpr std::int64_t kGpuDriverBytes = std::int64_t{600} << 20;

}  // namespace ovi
