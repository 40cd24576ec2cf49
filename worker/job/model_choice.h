// Which of Ovi's presets a job's resolution and duration mean, and whether they go with the model_name given.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"

namespace ovi {

// Of a job that says nothing of its model: the original's default.
inline constexpr std::string_view kDefaultModelName = "960x960_5s";

struct ModelChoice {
  std::string model_name;  // "" = the caller's default
  std::vector<std::string> warnings;
};

// With a model_name: that one. Its duration, where it is one of Ovi's presets, must be the one asked for
// (INVALID_ARGUMENT "is 5 s, but ..." for duration); a size of another area only gets a warning, since the
// preset scales every size to its own area. Other names (folders of other models) pass unchecked.
// Without: "" when neither size nor duration is asked for; 960x960_10s for 10 s; for 5 s or no duration
// 720x720_5s up to 720,000 pixels (halfway between the presets' areas), else 960x960_5s, which is also what a
// duration alone gets.
absl::StatusOr<ModelChoice> ChooseModel(const std::string& model_name, const std::optional<Size>& size,
                                        const std::optional<double>& duration_seconds);

}  // namespace ovi
