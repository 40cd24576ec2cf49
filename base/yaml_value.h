// Typed values out of a YamlNode, strictly: no number in quotes, no 1_000, no 010, no yes/no.
// Pure. Errors are INVALID_ARGUMENT and say what is wanted and what was found ("must be a whole number from 1
// to 1000, got 0"); the caller puts the place and the key in front.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/yaml.h"

namespace ovi {

// What a message calls the node: `5`, `the text "5"`, `a list of 2`, `nothing`.
std::string Describe(const YamlNode& node);

// Inclusive ranges. YamlNumber takes whole numbers too and is always finite.
absl::StatusOr<std::int64_t> YamlInteger(const YamlNode& node, std::int64_t min, std::int64_t max);
absl::StatusOr<std::uint64_t> YamlUint64(const YamlNode& node);
absl::StatusOr<double> YamlNumber(const YamlNode& node, double min, double max);

// true or false, as true, True or TRUE.
absl::StatusOr<bool> YamlBool(const YamlNode& node);

// Text of at most `bytes_max` bytes, UTF-8 without NUL; it may be empty. A number or true/false needs quotes
// to be text.
absl::StatusOr<std::string> YamlText(const YamlNode& node, std::int64_t bytes_max);

}  // namespace ovi
