// How two ranks share the two passes of a guided denoising step: each predicts for one of them, both get both
// predictions and take the same step, so the result is the one that a single rank computes. Whoever connects
// the ranks (worker/group over MPI, tests over threads) implements this.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"

namespace ovi {

// The rank with the positive pass leads: it encodes, decodes and has the sink.
enum class GuidancePass { kPositive, kNegative };

// One rank's side, for the length of one clip. Used by one thread at a time.
class GuidanceLink {
 public:
  virtual ~GuidanceLink() = default;

  virtual GuidancePass pass() const = 0;

  // Messages arrive in the order they were sent. Both may wait for the other rank to run, but Send never for
  // one of its messages: both ranks may send first. An error once the other rank has failed or this one is to
  // stop.
  virtual absl::Status Send(std::span<const float> values) = 0;
  virtual absl::Status Receive(std::vector<float>& values) = 0;
};

}  // namespace ovi
