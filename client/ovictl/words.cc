#include "client/ovictl/words.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/format.h"

namespace ovi::client {
namespace {

// `name` as the proto spells it, without what all values of the enum begin with.
std::string Stripped(const std::string& name, std::string_view prefix, int number) {
  if (name.empty()) return absl::StrCat(number);
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

constexpr std::string_view kStatePrefix = "JOB_STATE_";

}  // namespace

std::string StateWord(v1::JobState state) {
  return Stripped(v1::JobState_Name(state), kStatePrefix, state);
}

std::string StateWord(v1::NodeState state) {
  return Stripped(v1::NodeState_Name(state), "NODE_STATE_", state);
}

std::string StateWord(v1::GroupState state) {
  return Stripped(v1::GroupState_Name(state), "GROUP_STATE_", state);
}

std::string VramModeWord(v1::VramMode mode) {
  if (mode == v1::VRAM_MODE_UNSPECIFIED) return "";
  return absl::AsciiStrToLower(Stripped(v1::VramMode_Name(mode), "VRAM_MODE_", mode));
}

std::string EndWord(v1::AttemptEnd end) {
  if (end == v1::ATTEMPT_END_UNSPECIFIED) return "";
  return Stripped(v1::AttemptEnd_Name(end), "ATTEMPT_END_", end);
}

std::string StageWord(v1::Stage stage) {
  if (stage == v1::STAGE_UNSPECIFIED) return "";
  return absl::AsciiStrToLower(Stripped(v1::Stage_Name(stage), "STAGE_", stage));
}

std::string KindWord(v1::ArtifactKind kind) {
  if (kind == v1::ARTIFACT_KIND_CONTACT_SHEET) return "sheet";
  return absl::AsciiStrToLower(Stripped(v1::ArtifactKind_Name(kind), "ARTIFACT_KIND_", kind));
}

Tint TintOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_CONFIGURING:
    case v1::JOB_STATE_RUNNING:
    case v1::JOB_STATE_COMPLETING:
      return Tint::kBusy;
    case v1::JOB_STATE_COMPLETED:
      return Tint::kGood;
    case v1::JOB_STATE_FAILED:
      return Tint::kBad;
    case v1::JOB_STATE_CANCELLED:
      return Tint::kWarning;
    default:
      return Tint::kNone;
  }
}

bool HasEnded(v1::JobState state) {
  return state == v1::JOB_STATE_COMPLETED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

std::optional<v1::JobState> ParseState(std::string_view word) {
  std::string name = absl::AsciiStrToUpper(std::string(word));
  if (!name.starts_with(kStatePrefix)) name = absl::StrCat("JOB_STATE_", name);
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  if (!v1::JobState_Parse(name, &state) || state == v1::JOB_STATE_UNSPECIFIED) return std::nullopt;
  return state;
}

std::optional<v1::ArtifactKind> ParseKind(std::string_view word) {
  for (const v1::ArtifactKind kind :
       {v1::ARTIFACT_KIND_VIDEO, v1::ARTIFACT_KIND_POSTER, v1::ARTIFACT_KIND_CONTACT_SHEET}) {
    if (word == KindWord(kind)) return kind;
  }
  return std::nullopt;
}

std::string StateWords() {
  std::string words;
  for (int number = v1::JOB_STATE_PENDING; number <= v1::JobState_MAX; ++number) {
    const std::string word = absl::AsciiStrToLower(StateWord(static_cast<v1::JobState>(number)));
    absl::StrAppend(&words, words.empty() ? "" : ", ", word);
  }
  return words;
}

std::string FormatTime(std::int64_t time_ms, const absl::TimeZone& zone) {
  if (time_ms == 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(time_ms), zone);
}

std::string FormatSpan(std::int64_t from_ms, std::int64_t to_ms) {
  if (from_ms == 0 || to_ms == 0) return "";
  return FormatSeconds(static_cast<double>(to_ms - from_ms) / 1000);
}

}  // namespace ovi::client
