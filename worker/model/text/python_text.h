// White space as Python 3 sees it, since the original's prompt rules are Python's. Header only, pure, any
// thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace ovi {

// What `\s` and str.strip() take as white space (str.isspace). More than Unicode's White_Space:
// U+001C..U+001F belong to it.
constexpr bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

// Bytes of the white space that UTF-8 `text` begins with.
constexpr std::size_t LeadingPythonSpaceBytes(std::string_view text) {
  std::size_t pos = 0;
  const auto bits = [&](std::size_t i, unsigned mask) {
    return pos + i < text.size() ? static_cast<char32_t>(static_cast<unsigned char>(text[pos + i]) & mask)
                                 : 0;
  };
  while (pos < text.size()) {
    const char32_t lead = bits(0, 0xff);
    // No white space is above U+FFFF, so four-byte sequences need no case.
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : 3;
    const char32_t c = length == 1   ? lead
                       : length == 2 ? (bits(0, 0x1f) << 6 | bits(1, 0x3f))
                                     : (bits(0, 0x0f) << 12 | bits(1, 0x3f) << 6 | bits(2, 0x3f));
    if (lead >= 0xf0 || pos + length > text.size() || !IsPythonSpace(c)) break;
    pos += length;
  }
  return pos;
}

}  // namespace ovi
