// What a rank sends to the others in one denoising step: the formula, to the byte what its communicators
// count. Pure.
#pragma once

#include <cstdint>
#include <map>

#include "worker/model/config.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/fusion_weights.h"
#include "worker/parallel/topology.h"

namespace ovi {

// By way of exchange (communicator.h).
struct StepTraffic {
  std::int64_t all_to_all = 0;    // of the video: q, k, v and the attention's result
  std::int64_t all_gather = 0;    // audio merged, feed-forward shared out, predictions
  std::int64_t weights = 0;       // sharded weights, by all-gather too
  std::int64_t broadcast = 0;     // the audio's prediction
  std::int64_t send_receive = 0;  // predictions between the two passes

  std::int64_t total() const { return all_to_all + all_gather + weights + broadcast + send_receive; }
  bool operator==(const StepTraffic&) const = default;
};

struct StepTrafficRequest {
  const FusionConfig& config;
  const LatentShape& latent;
  DType compute = DType::kBF16;
  bool two_passes = true;
  std::int64_t skip_block = -1;  // of the negative pass
  const Topology& topology;
  std::vector<int> shares;                         // of all ranks; empty = all alike
  std::map<FusionPiece, std::int64_t> unit_bytes;  // with fsdp (MeasureUnits)
};

StepTraffic StepTrafficOf(const StepTrafficRequest& request, int rank);

// Of the video.
std::int64_t VideoTokensOf(const FusionConfig& config, const LatentShape& latent);
// Block pairs that a rank computes in a step, over its passes.
std::int64_t BlocksOf(const StepTrafficRequest& request, const RankPlace& place);

}  // namespace ovi
