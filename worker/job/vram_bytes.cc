#include "worker/job/vram_bytes.h"

#include <charconv>
#include <cmath>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

constexpr const char* kExpected =
    "must be bytes from 1 MiB to 1024 TiB, such as 24GiB, \"600 MB\" or 629145600, got ";

absl::StatusOr<std::int64_t> VramBytes(std::string_view text) {
  absl::StatusOr<std::int64_t> bytes = ParseByteSize(text);
  if (bytes.ok() && (*bytes < kVramBytesMin || *bytes > kVramBytesMax)) return absl::OutOfRangeError("");
  return bytes;
}

}  // namespace

absl::StatusOr<std::int64_t> ParseByteSize(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(Trimmed(text.substr(static_cast<std::size_t>(end - text.data()))));
  double factor = 1;
  if (!unit.empty() && (unit.back() == 'B' || unit.back() == 'b')) unit.pop_back();
  if (!unit.empty()) {
    const bool binary = unit.size() == 2 && unit.back() == 'i';
    constexpr std::string_view kPrefixes = "kMGT";
    const std::size_t power = unit[0] == 'K' ? 0 : kPrefixes.find(unit[0]);
    if ((unit.size() != 1 && !binary) || power == std::string_view::npos)
      return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " has no unit of bytes"));
    factor = std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  const double bytes = number * factor;
  if (error != std::errc() || !(bytes >= 0) || bytes >= 0x1p62)
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is no number of bytes"));
  return static_cast<std::int64_t>(std::llround(bytes));
}

std::string VramBytesArgument(std::string& text) {
  const absl::StatusOr<std::int64_t> bytes = VramBytes(text);
  if (!bytes.ok()) return absl::StrCat(kExpected, Quoted(text));
  text = absl::StrCat(*bytes);
  return "";
}

absl::StatusOr<std::int64_t> YamlVramBytes(const YamlNode& node) {
  absl::StatusOr<std::int64_t> bytes = absl::InvalidArgumentError("");
  if (node.kind == YamlNode::Kind::kScalar) bytes = VramBytes(node.scalar);
  if (bytes.ok()) return bytes;
  return absl::InvalidArgumentError(absl::StrCat(kExpected, Describe(node)));
}

}  // namespace ovi
