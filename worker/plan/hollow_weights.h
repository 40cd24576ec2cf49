// A weight file's names and shapes without its values, which a dry run has no use for: reading them would
// fetch gigabytes from a disk.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// Reads the table of the file as OpenWeights does, and has its errors. Every tensor claims to be bf16, which
// no network needs to round, and every value is 0.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenHollowWeights(const std::string& path);

}  // namespace ovi
