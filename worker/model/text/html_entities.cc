#include "worker/model/text/html_entities.h"

#include <unicode/locid.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>

#include "worker/model/text/icu_text.h"

namespace ovi {
namespace {

struct Entity {
  std::string_view name;
  char32_t first;
  char32_t second;
  bool bare;
};

// clang-format off
constexpr Entity kEntities[] = {
#include "worker/model/text/html5_table.inc"
};
// clang-format on

constexpr std::size_t kLongestName = 31;  // CounterClockwiseContourIntegral
constexpr std::size_t kLongestBareName = 6;

constexpr std::array<char32_t, 32> kWindows1252 = {
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};

bool IsDigit(char32_t c) {
  return c >= U'0' && c <= U'9';
}

int HexValue(char32_t c) {
  if (IsDigit(c)) return static_cast<int>(c - U'0');
  if (c >= U'a' && c <= U'f') return static_cast<int>(c - U'a') + 10;
  if (c >= U'A' && c <= U'F') return static_cast<int>(c - U'A') + 10;
  return -1;
}

bool IsAsciiAlnum(char32_t c) {
  return IsDigit(c) || (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
}

const Entity* FindEntity(std::u32string_view name) {
  if (name.empty() || name.size() > kLongestName) return nullptr;
  std::string ascii;
  for (const char32_t c : name) {
    if (c >= 0x80) return nullptr;
    ascii.push_back(static_cast<char>(c));
  }
  const auto* found =
      std::lower_bound(std::begin(kEntities), std::end(kEntities), ascii,
                       [](const Entity& entity, const std::string& key) { return entity.name < key; });
  return found != std::end(kEntities) && found->name == ascii ? found : nullptr;
}

std::u32string Characters(const Entity& entity) {
  std::u32string text(1, entity.first);
  if (entity.second != 0) text.push_back(entity.second);
  return text;
}

// Control characters and non-characters, which html.unescape drops.
bool IsDropped(std::uint32_t value) {
  return (value >= 0x1 && value <= 0x8) || value == 0xb || (value >= 0xe && value <= 0x1f) ||
         (value >= 0x7f && value <= 0x9f) || (value >= 0xfdd0 && value <= 0xfdef) ||
         (value & 0xfffe) == 0xfffe;
}

std::u32string FromNumber(std::uint32_t value) {
  if (value == 0) return U"\ufffd";
  if (value >= 0x80 && value <= 0x9f) return {FromWindows1252(value)};
  if ((value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff) return U"\ufffd";
  if (IsDropped(value)) return {};
  return {static_cast<char32_t>(value)};
}

struct Match {
  std::size_t length;  // code points after the '&' that the reference takes, its semicolon included
  std::u32string text;
};

// `rest` starts after "&".
std::optional<Match> MatchNumber(std::u32string_view rest) {
  if (rest.empty() || rest[0] != U'#') return std::nullopt;
  const bool hex = rest.size() > 1 && (rest[1] == U'x' || rest[1] == U'X');
  const std::size_t first = hex ? 2 : 1;
  std::size_t pos = first;
  std::uint32_t value = 0;
  for (; pos < rest.size(); ++pos) {
    const int digit = hex ? HexValue(rest[pos]) : IsDigit(rest[pos]) ? HexValue(rest[pos]) : -1;
    if (digit < 0) break;
    value = std::min<std::uint32_t>(value * (hex ? 16u : 10u) + static_cast<std::uint32_t>(digit), 0x110000u);
  }
  if (pos == first) return std::nullopt;
  if (pos < rest.size() && rest[pos] == U';') ++pos;
  return Match{pos, FromNumber(value)};
}

std::optional<Match> MatchName(std::u32string_view rest) {
  std::size_t length = 0;
  const auto may_be_in_a_name = [](char32_t c) {
    return c != U'\t' && c != U'\n' && c != U'\f' && c != U' ' && c != U'<' && c != U'&' && c != U'#' &&
           c != U';';
  };
  while (length < rest.size() && length < 32 && may_be_in_a_name(rest[length])) ++length;
  const std::u32string_view name = rest.substr(0, length);
  const bool closed = length < rest.size() && rest[length] == U';';
  if (const Entity* entity = FindEntity(name); entity != nullptr && (closed || entity->bare)) {
    return Match{length + (closed ? 1 : 0), Characters(*entity)};
  }
  for (std::size_t prefix = std::min(closed ? length : length - (length > 0), kLongestBareName); prefix > 1;
       --prefix) {
    const Entity* entity = FindEntity(name.substr(0, prefix));
    if (entity != nullptr && entity->bare) return Match{prefix, Characters(*entity)};
  }
  return std::nullopt;
}

// Names that html.unescape does not know but whose lower-case form it does.
std::optional<std::u32string> CapitalisedEntity(std::u32string_view name) {
  std::u32string lower(name);
  for (char32_t& c : lower) {
    if (c >= U'a' && c <= U'z') return std::nullopt;
    if (c >= U'A' && c <= U'Z') c += U'a' - U'A';
  }
  const Entity* entity = FindEntity(lower);
  if (entity == nullptr) return std::nullopt;
  const std::u32string reference = U"&" + std::u32string(name) + U";";
  if (HtmlUnescape(reference) != reference) return std::nullopt;
  return FromIcu(ToIcu(Characters(*entity)).toUpper(icu::Locale::getRoot()));
}

}  // namespace

char32_t FromWindows1252(char32_t c1_control) {
  return kWindows1252[c1_control - 0x80];
}

std::u32string HtmlUnescape(std::u32string_view text) {
  std::u32string out;
  for (std::size_t pos = 0; pos < text.size();) {
    if (text[pos] == U'&') {
      const std::u32string_view rest = text.substr(pos + 1);
      std::optional<Match> match = MatchNumber(rest);
      if (!match) match = MatchName(rest);
      if (match) {
        out += match->text;
        pos += 1 + match->length;
        continue;
      }
    }
    out.push_back(text[pos++]);
  }
  return out;
}

std::u32string HtmlUnescapeStrict(std::u32string_view text) {
  constexpr std::size_t kBodyMax = 24;  // of the regular expression `&#?[0-9A-Za-z]{1,24};`
  std::u32string out;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t body = pos + 1 + (pos + 1 < text.size() && text[pos + 1] == U'#' ? 1 : 0);
    std::size_t end = body;
    if (text[pos] == U'&') {
      while (end < text.size() && end - body < kBodyMax && IsAsciiAlnum(text[end])) ++end;
    }
    if (text[pos] != U'&' || end == body || end >= text.size() || text[end] != U';') {
      out.push_back(text[pos++]);
      continue;
    }
    const std::u32string_view reference = text.substr(pos, end + 1 - pos);
    const std::u32string_view name = text.substr(body, end - body);
    if (text[pos + 1] == U'#') {
      // A number that ends before the semicolon ("&#12ab;") is no reference.
      const std::u32string decoded = HtmlUnescape(reference);
      out += decoded.find(U';') == std::u32string::npos ? decoded : std::u32string(reference);
    } else if (const Entity* entity = FindEntity(name); entity != nullptr) {
      out += Characters(*entity);
    } else {
      out += CapitalisedEntity(name).value_or(std::u32string(reference));
    }
    pos = end + 1;
  }
  return out;
}

}  // namespace ovi
