// Text from outside (prompts, paths, messages of libraries) as one line for a terminal or a log.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace ovi {

// Control characters become blanks; what is longer than `bytes_max` is cut between characters and gets "...".
inline std::string OneLine(std::string_view text, std::size_t bytes_max = std::string_view::npos) {
  std::size_t length = text.size();
  if (length > bytes_max) {
    const auto inside_character = [&](std::size_t at) {
      return (static_cast<unsigned char>(text[at]) & 0xc0u) == 0x80u;
    };
    for (length = bytes_max; length > 0 && inside_character(length); --length) {
    }
  }
  std::string line(text.substr(0, length));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return length < text.size() ? line + "..." : line;
}

// The one line on stderr that an unsuccessful run ends with.
inline void PrintError(std::string_view message) {
  std::fprintf(stderr, "ovi-worker: %s\n", OneLine(message).c_str());
}

}  // namespace ovi
