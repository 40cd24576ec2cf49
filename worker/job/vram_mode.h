// The memory modes: how a clip's weights are kept, and so how much device memory it takes. Apart from the
// rest of a job's words, because the scheduler's core knows them too: no code to link, no other header.
#pragma once

#include <array>

namespace ovi {

// auto, standard, fp8, fp8_offload, ultra_low
enum class VramMode { kAuto, kStandard, kFp8, kFp8Offload, kUltraLow };

// What auto chooses from, best first: standard, then by how near a mode's pictures are to those of standard
// (docs/quality.md), with int8, which streams whatever does not fit, before fp8. A worker chooses by it
// within the memory it has, the coordinator by it among the nodes.
inline constexpr std::array<VramMode, 4> kModesByQuality = {VramMode::kStandard, VramMode::kUltraLow,
                                                            VramMode::kFp8, VramMode::kFp8Offload};

// The same for weights in the low-rank form, which they have in every mode: fp8 is standard then, and
// fp8_offload is ahead of ultra_low, which decodes in more strips.
inline constexpr std::array<VramMode, 3> kModesOfLowRank = {VramMode::kStandard, VramMode::kFp8Offload,
                                                            VramMode::kUltraLow};

// The users' word.
constexpr const char* ToString(VramMode mode) {
  switch (mode) {
    case VramMode::kAuto:
      return "auto";
    case VramMode::kStandard:
      return "standard";
    case VramMode::kFp8:
      return "fp8";
    case VramMode::kFp8Offload:
      return "fp8_offload";
    case VramMode::kUltraLow:
      return "ultra_low";
  }
  return "";
}

}  // namespace ovi
