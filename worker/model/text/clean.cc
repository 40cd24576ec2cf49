#include "worker/model/text/clean.h"

#include <unicode/normalizer2.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/model/text/html_entities.h"
#include "worker/model/text/icu_text.h"
#include "worker/model/text/python_text.h"

namespace ovi {
namespace {

// ftfy has no limit. Each round undoes one level of escaping ("&amp;amp;lt;"), so text made of nothing else
// would cost time quadratic in its length; nobody's prompt is escaped this often.
constexpr int kRoundsMax = 16;

// ftfy too works on at most a million characters at a time. Only the first 512 tokens are ever used.
constexpr std::size_t kPromptBytesMax = 1 << 20;

enum class Form { kNfc, kNfkc };

absl::StatusOr<std::u32string> Normalize(std::u32string_view text, Form form) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer =
      form == Form::kNfc ? icu::Normalizer2::getNFCInstance(error) : icu::Normalizer2::getNFKCInstance(error);
  if (U_FAILURE(error)) return absl::InternalError(absl::StrCat("ICU normalizer: ", u_errorName(error)));
  const icu::UnicodeString normal = normalizer->normalize(ToIcu(text), error);
  if (U_FAILURE(error)) return absl::InternalError(absl::StrCat("ICU normalizer: ", u_errorName(error)));
  return FromIcu(normal);
}

struct Ligature {
  char32_t character;
  std::u32string_view letters;
};

// ftfy's list: typographic ligatures and the digraphs Unicode keeps for legacy encodings. Not ae and oe,
// which people mean.
constexpr Ligature kLigatures[] = {
    {0x0132, U"IJ"},      {0x0133, U"ij"}, {0x0149, U"\u02bcn"}, {0x01c4, U"D\u017d"}, {0x01c5, U"D\u017e"},
    {0x01c6, U"d\u017e"}, {0x01c7, U"LJ"}, {0x01c8, U"Lj"},      {0x01c9, U"lj"},      {0x01ca, U"NJ"},
    {0x01cb, U"Nj"},      {0x01cc, U"nj"}, {0x01f1, U"DZ"},      {0x01f2, U"Dz"},      {0x01f3, U"dz"},
    {0xfb00, U"ff"},      {0xfb01, U"fi"}, {0xfb02, U"fl"},      {0xfb03, U"ffi"},     {0xfb04, U"ffl"},
    {0xfb05, U"\u017ft"}, {0xfb06, U"st"}};

std::u32string_view LigatureLetters(char32_t c) {
  for (const Ligature& ligature : kLigatures) {
    if (ligature.character == c) return ligature.letters;
  }
  return {};
}

bool IsWideForm(char32_t c) {
  return c >= 0xff01 && c < 0xfff0;
}

// C1, ligatures, width and quotes, in ftfy's order for each character: what an earlier one yields, a later
// one sees.
absl::StatusOr<std::u32string> FixCharacters(std::u32string_view text) {
  std::u32string out;
  const auto straighten = [](char32_t c) -> char32_t {
    if (c == 0x02bc || (c >= 0x2018 && c <= 0x201b)) return U'\'';
    if (c >= 0x201c && c <= 0x201f) return U'"';
    return c;
  };
  for (char32_t c : text) {
    if (c >= 0x80 && c <= 0x9f) c = FromWindows1252(c);
    if (const std::u32string_view letters = LigatureLetters(c); !letters.empty()) {
      for (const char32_t letter : letters) out.push_back(straighten(letter));
    } else if (c == 0x3000) {
      out.push_back(U' ');
    } else if (IsWideForm(c)) {
      OVI_ASSIGN_OR_RETURN(const std::u32string standard, Normalize({&c, 1}, Form::kNfkc));
      for (const char32_t s : standard) out.push_back(straighten(s));
    } else {
      out.push_back(straighten(c));
    }
  }
  return out;
}

std::u32string FixLineBreaks(std::u32string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') continue;
    out.push_back(c == U'\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c);
  }
  return out;
}

// "\x1b[", digits and semicolons, one letter.
std::u32string RemoveTerminalEscapes(std::u32string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 0x1b && i + 1 < text.size() && text[i + 1] == U'[') {
      std::size_t end = i + 2;
      while (end < text.size() && ((text[end] >= U'0' && text[end] <= U'9') || text[end] == U';')) ++end;
      const char32_t last = end < text.size() ? text[end] : U'\0';
      if ((last >= U'a' && last <= U'z') || (last >= U'A' && last <= U'Z')) {
        i = end;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

// Controls without a visible effect, deprecated format characters, byte-order marks, interlinear annotation.
bool IsUnwantedControl(char32_t c) {
  return c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) ||
         c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

absl::StatusOr<std::u32string> FixLine(std::u32string line, bool unescape_html) {
  for (int round = 0; round < kRoundsMax; ++round) {
    const std::u32string before = line;
    if (unescape_html) line = HtmlUnescapeStrict(line);
    OVI_ASSIGN_OR_RETURN(line, FixCharacters(line));
    line = RemoveTerminalEscapes(FixLineBreaks(line));
    line.erase(std::remove_if(line.begin(), line.end(), IsUnwantedControl), line.end());
    OVI_ASSIGN_OR_RETURN(line, Normalize(line, Form::kNfc));
    if (line == before) break;
  }
  return line;
}

std::u32string CollapseSpaces(std::u32string_view text) {
  std::u32string out;
  bool pending = false;
  for (const char32_t c : text) {
    if (IsPythonSpace(c)) {
      pending = !out.empty();
      continue;
    }
    if (pending) out.push_back(U' ');
    pending = false;
    out.push_back(c);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> CleanPrompt(std::string_view utf8) {
  if (utf8.size() > kPromptBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt: bytes=", utf8.size(), " bytes_max=", kPromptBytesMax));
  }
  if (const std::size_t bad = FirstInvalidUtf8(utf8); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("prompt: not UTF-8 at byte ", bad, " of ", utf8.size()));
  }
  const std::u32string text =
      FromIcu(icu::UnicodeString::fromUTF8({utf8.data(), static_cast<std::int32_t>(utf8.size())}));
  std::u32string fixed;
  // ftfy decides line by line, and a '<' in one line also holds for the lines after it.
  bool unescape_html = true;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t end = std::min(text.find(U'\n', pos), text.size() - 1) + 1;
    std::u32string line = text.substr(pos, end - pos);
    unescape_html = unescape_html && line.find(U'<') == std::u32string::npos;
    OVI_ASSIGN_OR_RETURN(line, FixLine(std::move(line), unescape_html));
    fixed += line;
    pos = end;
  }
  std::string cleaned;
  ToIcu(CollapseSpaces(HtmlUnescape(HtmlUnescape(fixed)))).toUTF8String(cleaned);
  return cleaned;
}

}  // namespace ovi
