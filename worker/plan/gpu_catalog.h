// The cards that plans know by name: configs/gpus.yaml.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/plan/gpu_model.h"

namespace ovi {

// INVALID_ARGUMENT "gpus.yaml:7: ..." for anything but a list of cards with distinct names and all keys.
absl::StatusOr<std::vector<GpuModel>> ParseGpus(std::string_view yaml, std::string_view source_name);

// As ParseGpus, and the errors of ReadSmallFile.
absl::StatusOr<std::vector<GpuModel>> LoadGpus(const std::string& path);

// Where the list that comes with the program is: $OVI_GPUS_FILE, else configs/gpus.yaml or
// share/ovi/gpus.yaml beside the program or in a folder above it, else ./configs/gpus.yaml.
std::string DefaultGpusFile();

// The card whose name has all of the `words`, in any case and order: "3060", "rtx 3060", "a100 80gb". Among
// several, one that has no other words but a maker's or a line's ("NVIDIA GeForce RTX"). INVALID_ARGUMENT
// with the names that come near for words that several cards have or none.
absl::StatusOr<GpuModel> FindGpu(const std::vector<GpuModel>& gpus, std::string_view words);

}  // namespace ovi
