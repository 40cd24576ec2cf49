// The JSON header of a safetensors file, as text: names, types and offsets, not yet held against the data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;    // each >= 0
  std::vector<std::int64_t> offsets;  // begin and end in bytes, each >= 0, from the start of the data section
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the file, names and fields given once
  std::map<std::string, std::string> metadata;
};

// INVALID_ARGUMENT, naming tensor and field but not the file, for anything but the JSON the format asks for.
// Does not recurse, so nesting costs no stack; memory is proportional to `json`.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json);

}  // namespace ovi
