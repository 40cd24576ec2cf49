// What the ranks of a group tell each other besides tensors: orders of rank 0, and how an attempt went.
// Text in, text out: worker/group/mpi_session.h carries them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/media/frame_size.h"
#include "worker/pipeline/engine.h"

namespace ovi {

// From rank 0 to the others.
struct PeerOrder {
  enum class Kind : std::uint8_t { kAssist, kShutDown };
  Kind kind = Kind::kAssist;
  // kAssist
  std::uint32_t sequence = 0;  // of the attempt, counted by the group
  std::string run;             // ovi.v1.RunAttempt, serialised
  FrameSize image;             // of the first frame's image; 0 x 0 in mode t2v
  // kShutDown
  std::int32_t exit_code = 0;

  bool operator==(const PeerOrder&) const = default;
};

// From each rank to the others, when its part of an attempt is over.
struct PeerOutcome {
  absl::Status status;
  std::vector<StageReport> stages;
};

std::string Encode(const PeerOrder& order);
std::string Encode(const PeerOutcome& outcome);

// INTERNAL when the text is not one that Encode made.
absl::StatusOr<PeerOrder> DecodeOrder(std::string_view text);
absl::StatusOr<PeerOutcome> DecodeOutcome(std::string_view text);

}  // namespace ovi
