#include "base/yaml_value.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace ovi {
namespace {

constexpr std::size_t kBareBytesMax = 40;  // a number longer than that is quoted, and so cut, in messages

absl::Status WrongValue(const std::string& wanted, const YamlNode& node) {
  return absl::InvalidArgumentError(absl::StrCat("must be ", wanted, ", got ", Describe(node)));
}

// A leading zero is refused: YAML 1.1 reads 010 as eight, everybody else as ten.
bool HasLeadingZero(std::string_view digits) {
  if (!digits.empty() && digits.front() == '-') digits.remove_prefix(1);
  return digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
}

// The whole text as a number. An unquoted word such as "nan" or "inf" is none.
template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole_text = end == text.data() + text.size();
  if (error != std::errc() || !whole_text || HasLeadingZero(text)) return std::nullopt;
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(number)) return std::nullopt;
  }
  return number;
}

std::optional<bool> ParseBool(std::string_view text) {
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  return std::nullopt;
}

bool IsPlainScalar(const YamlNode& node) {
  return node.kind == YamlNode::Kind::kScalar && node.plain;
}

}  // namespace

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return absl::StrCat("a list of ", node.items.size());
    case YamlNode::Kind::kMap:
      return absl::StrCat("a map of ", node.entries.size());
    case YamlNode::Kind::kScalar:
      break;
  }
  const bool bare = IsPlainScalar(node) && node.scalar.size() <= kBareBytesMax;
  if (bare && (ParseNumber<double>(node.scalar) || ParseBool(node.scalar))) return node.scalar;
  return absl::StrCat("the text ", Quoted(node.scalar));
}

absl::StatusOr<std::int64_t> YamlInteger(const YamlNode& node, std::int64_t min, std::int64_t max) {
  const auto number = IsPlainScalar(node) ? ParseNumber<std::int64_t>(node.scalar) : std::nullopt;
  if (!number || *number < min || *number > max) {
    return WrongValue(absl::StrCat("a whole number from ", min, " to ", max), node);
  }
  return *number;
}

absl::StatusOr<std::uint64_t> YamlUint64(const YamlNode& node) {
  const auto number = IsPlainScalar(node) ? ParseNumber<std::uint64_t>(node.scalar) : std::nullopt;
  if (!number) return WrongValue("a whole number from 0 to 18446744073709551615", node);
  return *number;
}

absl::StatusOr<double> YamlNumber(const YamlNode& node, double min, double max) {
  const auto number = IsPlainScalar(node) ? ParseNumber<double>(node.scalar) : std::nullopt;
  if (!number || *number < min || *number > max) {
    return WrongValue(absl::StrCat("a number from ", min, " to ", max), node);
  }
  return *number;
}

absl::StatusOr<bool> YamlBool(const YamlNode& node) {
  const auto value = IsPlainScalar(node) ? ParseBool(node.scalar) : std::nullopt;
  if (!value) return WrongValue("true or false", node);
  return *value;
}

absl::StatusOr<std::string> YamlText(const YamlNode& node, std::int64_t bytes_max) {
  if (node.kind != YamlNode::Kind::kScalar) return WrongValue("text", node);
  if (IsPlainScalar(node) && (ParseNumber<double>(node.scalar) || ParseBool(node.scalar))) {
    return WrongValue("text (in quotes where it looks like a number or true/false)", node);
  }
  if (static_cast<std::int64_t>(node.scalar.size()) > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", node.scalar.size(), " bytes, more than the ", bytes_max, " allowed"));
  }
  if (!IsValidUtf8(node.scalar)) return absl::InvalidArgumentError("is not valid UTF-8");
  if (node.scalar.find('\0') != std::string::npos) return absl::InvalidArgumentError("holds a NUL character");
  return node.scalar;
}

}  // namespace ovi
