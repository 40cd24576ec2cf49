#include "worker/pipeline/math/prompt_format.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "worker/model/text/python_text.h"

namespace ovi {
namespace {

constexpr std::string_view kOpen = "<AUDCAP>";
constexpr std::string_view kClose = "<ENDAUDCAP>";
constexpr std::string_view kAudio = "Audio:";

std::string ColonToTags(std::string_view text) {
  const std::size_t at = text.find(kAudio);
  if (at == std::string_view::npos) return std::string(text);
  std::string_view sound = text.substr(at + kAudio.size());
  sound.remove_prefix(LeadingPythonSpaceBytes(sound));
  std::string out(text.substr(0, at));
  return out.append(kOpen).append(sound).append(kClose);
}

std::string TagsToColon(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t open = text.find(kOpen);
    const std::size_t close = open == std::string_view::npos ? open : text.find(kClose, open + kOpen.size());
    if (close == std::string_view::npos) return out.append(text);
    const std::size_t sound = open + kOpen.size();
    out.append(text.substr(0, open)).append(kAudio).append(" ").append(text.substr(sound, close - sound));
    text.remove_prefix(close + kClose.size());
  }
}

// Without every "<...>" on one line.
std::string RemoveTags(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    if (text[pos] == '<') {
      const std::size_t end = text.find_first_of(">\n", pos);
      if (end != std::string_view::npos && text[end] == '>') {
        pos = end + 1;
        continue;
      }
    }
    out.push_back(text[pos++]);
  }
  return out;
}

bool IsUtf8Continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0u) == 0x80u;
}

}  // namespace

std::string FormatPrompt(std::string_view text, PromptStyle style) {
  return style == PromptStyle::kAudcapTags ? ColonToTags(text) : TagsToColon(text);
}

std::string OutputFileName(const OutputName& name) {
  constexpr int kCharactersMax = 50;
  std::string stem;
  int characters = 0;
  for (const char c : RemoveTags(name.prompt)) {
    characters += IsUtf8Continuation(c) ? 0 : 1;
    if (characters > kCharactersMax) break;
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    stem.push_back(c == ' ' || c == '/' || control ? '_' : c);
  }
  return absl::StrCat(stem, "_", name.height, "x", name.width, "_", name.seed, "_", name.rank, ".mp4");
}

}  // namespace ovi
