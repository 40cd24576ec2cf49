// The networks of a golden set, loaded with the engine's own code.
#pragma once

#include <memory>

#include "tests/golden/runner.h"
#include "worker/model/config.h"
#include "worker/model/fusion_dit.h"

namespace ovi::golden {

absl::StatusOr<FusionConfig> FusionConfigOf(const Set& set);
absl::StatusOr<TextConfig> TextConfigOf(const Set& set);
// With the set's latent mean and standard deviation, which are tensors there.
absl::StatusOr<VideoVaeConfig> VideoVaeConfigOf(const Set& set);
absl::StatusOr<AudioVaeConfig> AudioVaeConfigOf(const Set& set);
absl::StatusOr<VocoderConfig> VocoderConfigOf(const Set& set);
absl::StatusOr<std::unique_ptr<FusionDit>> LoadDit(const Context& context);

// The real tokens of the three texts: ids where the mask is 1.
absl::StatusOr<std::vector<std::vector<std::int32_t>>> TextIds(const Set& set);

}  // namespace ovi::golden
