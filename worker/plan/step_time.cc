#include "worker/plan/step_time.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "worker/model/sequence_parallel.h"

namespace ovi {
namespace {

// What a rank has of a clip, in tokens and heads.
struct RankPart {
  double video = 0;      // all tokens of the video
  double own_video = 0;  // those of the rank
  double heads = 1;      // part of the heads of self-attention
  double audio = 0;      // all audio tokens
  double own_audio = 0;  // those that the rank multiplies by the weights
};

RankPart PartOf(const StepTrafficRequest& request, const RankPlace& place) {
  const std::int64_t tokens = VideoTokensOf(request.config, request.latent);
  const std::int64_t audio = request.latent.audio_length;
  std::vector<int> shares;
  for (const int rank : place.sp_group) {
    shares.push_back(request.shares.empty() ? 1 : request.shares[static_cast<std::size_t>(rank)]);
  }
  const auto own = static_cast<std::size_t>(place.sp_index);
  const std::int64_t heads = request.config.video.heads;
  const auto own_heads = ShardHeads(static_cast<int>(heads), shares);
  const bool shares_audio = shares.size() > 1 && audio * kAudioSharingFactor > tokens;
  return {.video = static_cast<double>(tokens),
          .own_video = static_cast<double>(Shard(tokens, shares)[own].size()),
          .heads = own_heads.ok() ? static_cast<double>((*own_heads)[own].size()) / static_cast<double>(heads)
                                  : 1.0,
          .audio = static_cast<double>(audio),
          .own_audio = static_cast<double>(shares_audio ? Shard(audio, shares)[own].size() : audio)};
}

}  // namespace

// Section 2.4 of the model: a token meets eight D x D matrices (self q, k, v, o; cross q, o; the other
// tower's k_fusion and v_fusion) and the feed-forward's two. Text keys and values are made once a prompt.
StepWork StepWorkOf(const StepTrafficRequest& request, int rank) {
  const std::optional<RankPlace> place = PlaceOf(request.topology, rank);
  if (!place) return {};
  const TowerConfig& c = request.config.video;
  const auto dim = static_cast<double>(c.dim);
  const auto ffn = static_cast<double>(c.ffn_dim);
  const auto text = static_cast<double>(c.text_len);
  const RankPart part = PartOf(request, *place);
  const auto blocks = static_cast<double>(BlocksOf(request, *place));

  // Of the audio's eight, the two output projections are never shared out.
  const double matrix = 2 * (dim * dim * (8 * part.own_video + 2 * part.audio + 6 * part.own_audio) +
                             2 * dim * ffn * (part.own_video + part.own_audio));
  const double scores = part.video * part.video * part.heads + part.audio * part.audio +
                        (part.own_video + part.audio) * text + 2 * part.own_video * part.audio;
  StepWork work{.matrix_flop = blocks * matrix, .attention_flop = blocks * 4 * dim * scores};
  if (request.topology.sp > 1) {
    // Two groups of heads there and back, the audio's parts and their log-sum-exps, and its products.
    const std::int64_t a_block = 4 + 2 + (part.own_audio < part.audio ? kAudioShared : 0);
    work.exchanges += a_block * BlocksOf(request, *place);
  }
  if (request.topology.fsdp)
    work.exchanges += static_cast<std::int64_t>(FusionPassUnits(request.config).size());
  return work;
}

StepTime StepTimeOf(const StepTrafficRequest& request, const RankSpeed& speed) {
  const std::vector<int>& shares = request.shares;
  const int fastest = shares.empty() ? 1 : *std::max_element(shares.begin(), shares.end());
  StepTime slowest;
  for (int rank = 0; rank < request.topology.world_size; ++rank) {
    const double share =
        shares.empty() ? 1.0 : static_cast<double>(shares[static_cast<std::size_t>(rank)]) / fastest;
    const StepWork work = StepWorkOf(request, rank);
    const StepTraffic traffic = StepTrafficOf(request, rank);
    StepTime time;
    time.compute_seconds =
        (work.matrix_flop / speed.matrix_flops + work.attention_flop / speed.attention_flops) / share;
    const double may_hide =
        (static_cast<double>(traffic.all_to_all) / 2 + static_cast<double>(traffic.weights)) /
        speed.link_bytes;
    const double hidden = std::min(may_hide, time.compute_seconds) * speed.overlap;
    time.exchange_seconds = static_cast<double>(traffic.total()) / speed.link_bytes - hidden +
                            static_cast<double>(work.exchanges) * speed.link_seconds;
    if (time.seconds() > slowest.seconds()) slowest = time;
  }
  return slowest;
}

}  // namespace ovi
