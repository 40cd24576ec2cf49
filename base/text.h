// Text that people typed: is it proper UTF-8, how to quote it in a one-line message, which known name was
// meant. Pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace ovi {

// Offset of the first byte that is not part of well-formed UTF-8 (no overlong forms, no surrogates, nothing
// above U+10FFFF), or npos when all of it is.
std::size_t FirstInvalidUtf8(std::string_view text);
inline bool IsValidUtf8(std::string_view text) {
  return FirstInvalidUtf8(text) == std::string_view::npos;
}

// `text` on one line and in proper UTF-8: control characters and broken bytes as \x.. (\n, \t, \r).
std::string Escaped(std::string_view text);

// `text` escaped, in double quotes, cut after about 60 bytes.
std::string Quoted(std::string_view text);

// `text` without blanks, tabs and line ends at both sides.
std::string_view Trimmed(std::string_view text);

// Fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, counted in
// bytes; no byte is edited twice (optimal string alignment). O(|a| |b|): for names, not for documents.
int EditDistance(std::string_view a, std::string_view b);

// The known name, all of them lower case, that `name` in any case was probably meant to be: least edit
// distance, at most one edit per three characters (two are always allowed), the first on ties. "" when none
// is that near.
std::string NearestName(std::string_view name, std::span<const std::string_view> known);

}  // namespace ovi
