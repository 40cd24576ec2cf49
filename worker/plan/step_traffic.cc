#include "worker/plan/step_traffic.h"

#include <algorithm>

#include "base/check.h"
#include "worker/model/sharded_weights.h"

namespace ovi {

std::int64_t VideoTokensOf(const FusionConfig& config, const LatentShape& latent) {
  const std::vector<std::int64_t>& patch = config.video.patch;
  return latent.frames * (latent.rows / patch[1]) * (latent.columns / patch[2]);
}

std::int64_t BlocksOf(const StepTrafficRequest& request, const RankPlace& place) {
  const std::int64_t layers = request.config.video.layers;
  const bool skips = request.skip_block >= 0 && request.skip_block < layers;
  const std::int64_t negative = skips ? layers - 1 : layers;
  if (request.topology.cfg == 2) return place.cfg_index == 0 ? layers : negative;
  return request.two_passes ? layers + negative : layers;
}

namespace {

// With the ranks that share the video's tokens.
StepTraffic SequenceTraffic(const StepTrafficRequest& request, const RankPlace& place,
                            const std::vector<int>& shares) {
  const TowerConfig& video = request.config.video;
  const TowerConfig& audio = request.config.audio;
  const std::int64_t element = ElementBytes(request.compute);
  const std::int64_t others = request.topology.sp - 1;
  const std::int64_t tokens = VideoTokensOf(request.config, request.latent);
  const std::int64_t length = request.latent.audio_length;
  const auto own = static_cast<std::size_t>(place.sp_index);
  std::vector<int> group;
  for (const int rank : place.sp_group) group.push_back(shares[static_cast<std::size_t>(rank)]);
  const auto heads = ShardHeads(static_cast<int>(video.heads), group);
  OVI_CHECK(heads.ok());
  const VideoExchange exchange{.head_dim = video.head_dim(),
                               .element_bytes = element,
                               .tokens = Shard(tokens, group),
                               .heads = *heads};

  const std::int64_t blocks = BlocksOf(request, place);
  const std::int64_t passes = request.topology.cfg == 1 && request.two_passes ? 2 : 1;
  StepTraffic traffic;
  traffic.all_to_all = blocks * VideoExchangeBytesPerBlock(exchange, place.sp_index);
  // A part of the audio's attention to the video is f32, with its log-sum-exp.
  std::int64_t block_gather = length * (audio.dim + audio.heads) * ElementBytes(DType::kF32);
  if (length * kAudioSharingFactor > tokens) {
    block_gather += kAudioShared * Shard(length, group)[own].size() * audio.dim * element;
  }
  std::int64_t patch = 1;
  for (const std::int64_t extent : video.patch) patch *= extent;
  const std::int64_t prediction = exchange.tokens[own].size() * video.out_dim * patch * element;
  traffic.all_gather = (blocks * block_gather + passes * prediction) * others;
  if (place.sp_index == 0) traffic.broadcast = passes * length * audio.out_dim * element * others;
  return traffic;
}

}  // namespace

StepTraffic StepTrafficOf(const StepTrafficRequest& request, int rank) {
  const Topology& topology = request.topology;
  std::vector<int> shares = request.shares;
  if (shares.empty()) shares.assign(static_cast<std::size_t>(topology.world_size), 1);
  StepTraffic traffic;
  const std::optional<RankPlace> place = PlaceOf(topology, rank);
  if (place && topology.sp > 1) traffic = SequenceTraffic(request, *place, shares);
  if (place && topology.cfg == 2) {
    traffic.send_receive = (request.latent.video().elements() + request.latent.audio().elements()) *
                           ElementBytes(request.compute);
  }
  if (topology.fsdp) {
    for (const FusionUnit unit : FusionPassUnits(request.config)) {
      const ShardRange own =
          UnitShares(request.unit_bytes.at(unit.piece), shares)[static_cast<std::size_t>(rank)];
      traffic.weights += own.size() * (topology.world_size - 1);
    }
  }
  return traffic;
}

}  // namespace ovi
