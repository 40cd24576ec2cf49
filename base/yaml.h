// The YAML edge: text in, a plain tree with line numbers out. The only code that includes yaml-cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  int line = 0;                    // from 1; of a value left empty, the line of its key
  bool plain = false;              // a scalar without quotes: `5` may be a number, `"5"` is text
  std::string scalar;              // kScalar, as UTF-8; may hold control characters from "\x01" escapes
  std::vector<YamlNode> items;     // kSequence
  std::vector<YamlEntry> entries;  // kMap: in the file's order, no key twice, every key text
};

struct YamlEntry {
  std::string key;
  int line = 0;
  YamlNode value;
};

// Limits on hostile input. The counts are taken after aliases (*name) have been expanded.
inline constexpr std::int64_t kYamlBytesMax = 1 << 20;
inline constexpr int kYamlDepthMax = 32;
inline constexpr int kYamlNodesMax = 10'000;
inline constexpr std::int64_t kYamlScalarBytesMax = 4 << 20;

// Parses one document of UTF-8 (byte order mark and CRLF are fine). An empty text is a kNull node.
// INVALID_ARGUMENT with "source_name:line: reason" for anything else: syntax, a second document, a key given
// twice or not text, a quote or block never closed, a tag (!!int), a tab used as indentation, broken UTF-8,
// control characters, the limits above.
absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view source_name);

}  // namespace ovi
