#include "base/format.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ovi {
namespace {

bool IsContinuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u;
}

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
};

// The first character of a text that is not empty.
Character FirstCharacter(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (bytes == 1 || text.size() < bytes) return {lead, 1};
  char32_t code = lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(text[i])) return {lead, 1};
    code = code << 6u | (static_cast<unsigned char>(text[i]) & 0x3fu);
  }
  return {code, bytes};
}

struct Range {
  char32_t first, last;
};

// The blocks that people's prompts meet, after Unicode 15's EastAsianWidth (W, F) and general category Mn.
constexpr Range kZeroWidth[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                                {0x64b, 0x65f},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
                                {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
constexpr Range kDoubleWidth[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97f},  {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff01, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};

int WidthOf(char32_t code) {
  const auto holds = [code](const Range& range) { return code >= range.first && code <= range.last; };
  if (std::any_of(std::begin(kZeroWidth), std::end(kZeroWidth), holds)) return 0;
  return std::any_of(std::begin(kDoubleWidth), std::end(kDoubleWidth), holds) ? 2 : 1;
}

// Bytes of the longest head of `text` that takes at most `columns`.
std::size_t FittingBytes(std::string_view text, int columns) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Character character = FirstCharacter(text.substr(at));
    columns -= WidthOf(character.code);
    if (columns < 0) break;
    at += character.bytes;
  }
  return at;
}

// "stage   [###...] ".
std::string Bar(std::string_view stage, std::int64_t done, std::int64_t all, int width) {
  const std::int64_t shown = std::clamp<std::int64_t>(done, 0, std::max<std::int64_t>(all, 0));
  const auto filled = static_cast<std::size_t>(all > 0 ? width * shown / all : 0);
  return absl::StrFormat("%-8s[%s%s] ", std::string(stage), std::string(filled, '#'),
                         std::string(static_cast<std::size_t>(width) - filled, '.'));
}

}  // namespace

std::string FormatSeconds(double seconds) {
  constexpr double kLongest = 1e9;  // also for what is no number: figures may come from outside
  const double shown = std::isnan(seconds) ? 0.0 : std::clamp(seconds, 0.0, kLongest);
  const auto whole = static_cast<long long>(std::llround(shown));
  if (whole >= 3600) return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
  return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
}

std::string FormatBytes(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= std::int64_t{1} << 30) return absl::StrFormat("%.1f GiB", value / (1 << 30));
  if (bytes >= 1 << 20) return absl::StrFormat("%.1f MiB", value / (1 << 20));
  if (bytes >= 1 << 10) return absl::StrFormat("%.1f KiB", value / (1 << 10));
  return absl::StrCat(bytes, " B");
}

std::string FormatPace(const StepProgress& progress) {
  std::string text = absl::StrCat(progress.step, "/", progress.steps);
  if (progress.step > 0 && progress.seconds_per_step > 0) {
    absl::StrAppendFormat(&text, "  %.2f s/step  ETA %s", progress.seconds_per_step,
                          FormatSeconds(progress.seconds_per_step * (progress.steps - progress.step)));
  }
  return text;
}

std::string FormatBar(const StepProgress& progress, int width) {
  return Bar(progress.stage, progress.step, progress.steps, width) + FormatPace(progress);
}

std::string FormatBytePace(const ByteProgress& progress) {
  std::string text = absl::StrCat(FormatBytes(progress.done), " of ", FormatBytes(progress.bytes));
  if (progress.seconds_left > 0) absl::StrAppend(&text, "  ETA ", FormatSeconds(progress.seconds_left));
  return text;
}

std::string FormatByteBar(const ByteProgress& progress, int width) {
  return Bar(progress.stage, progress.done, progress.bytes, width) + FormatBytePace(progress);
}

std::string OneLine(std::string_view text, std::size_t bytes_max) {
  std::size_t length = text.size();
  if (length > bytes_max) {
    for (length = bytes_max; length > 0 && IsContinuation(text[length]); --length) {
    }
  }
  std::string line(text.substr(0, length));
  for (std::size_t i = 0; i < line.size(); ++i) {
    const auto byte = static_cast<unsigned char>(line[i]);
    // U+0080..U+009F, C2 80..C2 9F in UTF-8, are control characters too: 9B begins an escape sequence.
    const bool second_half =
        byte >= 0x80 && byte <= 0x9f && i > 0 && static_cast<unsigned char>(line[i - 1]) == 0xc2;
    if (second_half) line[i - 1] = ' ';
    if (byte < 0x20 || byte == 0x7f || second_half) line[i] = ' ';
  }
  return length < text.size() ? line + "..." : line;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const Character character = FirstCharacter(text);
    width += WidthOf(character.code);
    text.remove_prefix(character.bytes);
  }
  return width;
}

std::string CutToWidth(std::string_view text, int columns) {
  if (DisplayWidth(text) <= columns) return std::string(text);
  constexpr int kDots = 3;
  if (columns < kDots) return std::string(static_cast<std::size_t>(std::max(columns, 0)), '.');
  return std::string(text.substr(0, FittingBytes(text, columns - kDots))) + "...";
}

}  // namespace ovi
