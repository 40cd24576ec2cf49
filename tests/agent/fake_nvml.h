// A libnvidia-ml.so.1 for tests: fake_nvml.cc is built as a shared library that the reader opens as it would
// the driver's, and the test changes what it says through `fake_nvml`, found in the same library.
#pragma once

#include <cstdint>

namespace ovi {

struct FakeNvmlGpu {
  const char* name = "NVIDIA GeForce RTX 3090";
  const char* uuid = "GPU-00000000-0000-0000-0000-000000000000";
  const char* bus_id = "00000000:00:00.0";
  int handle_result = 0;  // of nvmlDeviceGetHandleByIndex_v2
  int memory_result = 0;  // of nvmlDeviceGetMemoryInfo
  int other_result = 0;   // of all else that is asked of the device
  std::uint64_t bytes_total = 24ull << 30;
  std::uint64_t bytes_used = 0;
  int process_count = 0;
  std::uint32_t pids[4] = {};
  std::uint64_t process_bytes[4] = {};  // all ones: not available
  std::uint32_t temperature = 40;
  std::uint64_t ecc_errors = 0;
  bool has_ecc = true;
  std::uint32_t rows_pending = 0, rows_failed = 0, pages_pending = 0;
  std::uint32_t pcie_generation = 4, pcie_lanes = 16;
  const char* nvlink_to[4] = {};  // bus id of what each link ends at; null = inactive
};

struct FakeNvml {
  int init_result = 0;
  int gpu_count = 0;
  FakeNvmlGpu gpus[4];
  std::uint32_t topology_level = 30;
  int xid_count = 0;  // waiting events, taken from the front
  struct {
    int gpu;
    std::uint64_t xid;
  } xids[4] = {};
  int init_calls = 0, shutdown_calls = 0;
};

}  // namespace ovi

extern "C" ovi::FakeNvml fake_nvml;
