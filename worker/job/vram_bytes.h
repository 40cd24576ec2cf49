// Device memory as people write it: what a GPU has, what a job may take of one. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/yaml.h"

namespace ovi {

inline constexpr std::int64_t kVramBytesMin = 1 << 20;
inline constexpr std::int64_t kVramBytesMax = std::int64_t{1} << 50;

// 629145600, "600 MB", "24GiB", "1.5 GB": whole bytes. k, M, G, T are powers of 1000, with an i of 1024.
absl::StatusOr<std::int64_t> ParseByteSize(std::string_view text);

// The same from kVramBytesMin to kVramBytesMax, for CLI11's transform: replaces `text` by the number and
// returns "", or what is wrong with it.
std::string VramBytesArgument(std::string& text);

// The same of a YAML, from kVramBytesMin to kVramBytesMax. INVALID_ARGUMENT says so, and what was found.
absl::StatusOr<std::int64_t> YamlVramBytes(const YamlNode& node);

}  // namespace ovi
