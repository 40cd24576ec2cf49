#include "base/text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "absl/strings/ascii.h"

namespace ovi {
namespace {

constexpr std::size_t kQuotedBytesMax = 60;
constexpr std::size_t kNameBytesMax = 64;  // longer than any name of ours: not a misspelling of one

// Bytes of the well-formed sequence at the start of `text` (not empty), 0 when there is none.
std::size_t Utf8SequenceBytes(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // The second byte's narrower ranges exclude overlong forms, surrogates and values above U+10FFFF.
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

// Appends the first character of `text`, or its first byte escaped; returns the bytes taken.
std::size_t AppendEscaped(std::string_view text, std::string* out) {
  const std::size_t length = Utf8SequenceBytes(text);
  const auto byte = static_cast<unsigned char>(text[0]);
  if (length != 0 && byte >= 0x20 && byte != 0x7F) {
    *out += text.substr(0, length);
    return length;
  }
  char escaped[8];
  std::snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
  *out += byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : byte == '\r' ? "\\r" : escaped;
  return 1;
}

}  // namespace

std::size_t FirstInvalidUtf8(std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    const std::size_t length = Utf8SequenceBytes(text.substr(offset));
    if (length == 0) return offset;
    offset += length;
  }
  return std::string_view::npos;
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (std::size_t offset = 0; offset < text.size();) offset += AppendEscaped(text.substr(offset), &out);
  return out;
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  std::size_t offset = 0;
  while (offset < text.size() && offset < kQuotedBytesMax) offset += AppendEscaped(text.substr(offset), &out);
  return out + (offset < text.size() ? "...\"" : "\"");
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

int EditDistance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: a swap of neighbours looks two rows back.
  std::vector<int> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string NearestName(std::string_view name, std::span<const std::string_view> known) {
  if (name.size() > kNameBytesMax) return "";
  const std::string lower = absl::AsciiStrToLower(std::string(name));
  int best = std::max(2, static_cast<int>(name.size()) / 3) + 1;
  std::string_view nearest;
  for (const std::string_view candidate : known) {
    const int distance = EditDistance(lower, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return std::string(nearest);
}

}  // namespace ovi
