#include "worker/job/model_choice.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

struct Preset {
  const char* name;
  std::int64_t area;  // pixels a frame is scaled to
  double seconds;
};

// The three public checkpoints.
constexpr Preset kPresets[] = {
    {"720x720_5s", 518'400, 5.0}, {"960x960_5s", 921'600, 5.0}, {"960x960_10s", 921'600, 10.0}};
constexpr std::int64_t kSmallPresetAreaMax = 720'000;

const Preset* FindPreset(const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return &preset;
  }
  return nullptr;
}

std::int64_t AreaOf(const Size& size) {
  return std::int64_t{size.height} * size.width;
}

const char* PresetFor(const std::optional<Size>& size, double seconds) {
  if (seconds == 10.0) return "960x960_10s";
  return size && AreaOf(*size) <= kSmallPresetAreaMax ? "720x720_5s" : "960x960_5s";
}

}  // namespace

absl::StatusOr<ModelChoice> ChooseModel(const std::string& model_name, const std::optional<Size>& size,
                                        const std::optional<double>& duration_seconds) {
  ModelChoice choice{model_name, {}};
  if (model_name.empty()) {
    if (!size && !duration_seconds) return choice;
    const double seconds = duration_seconds.value_or(5.0);
    if (seconds != 5.0 && seconds != 10.0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "is ", seconds, " s, but Ovi's models make 5 or 10 s; another model needs its model_name"));
    }
    choice.model_name = PresetFor(size, seconds);
  }
  const Preset* preset = FindPreset(choice.model_name);
  if (preset == nullptr) return choice;
  if (duration_seconds && *duration_seconds != preset->seconds) {
    return absl::InvalidArgumentError(absl::StrCat("is ", *duration_seconds, " s, but model_name ",
                                                   preset->name, " makes ", preset->seconds,
                                                   " s; change one of the two"));
  }
  // The original warns outside the same bounds.
  const double ratio = size ? static_cast<double>(AreaOf(*size)) / static_cast<double>(preset->area) : 1.0;
  if (ratio < 0.9 || ratio > 1.1) {
    choice.warnings.push_back(absl::StrCat(size->height, "x", size->width, " is scaled to the ", preset->area,
                                           " pixels that ", preset->name, " makes"));
  }
  return choice;
}

}  // namespace ovi
