// The time of a step against what the model's specification says of its work, and against plain cases.
#include "worker/plan/step_time.h"

#include <gtest/gtest.h>

#include "tests/model/public_fusion.h"

namespace ovi {
namespace {

// 720x720_5s: 15,004 video tokens.
constexpr LatentShape kSmallest{
    .channels = 48, .frames = 31, .rows = 44, .columns = 44, .audio_length = 157, .audio_channels = 20};

StepTrafficRequest Request(const FusionConfig& config, const Topology& topology, bool two_passes = true) {
  return {.config = config,
          .latent = kSmallest,
          .two_passes = two_passes,
          .skip_block = 11,
          .topology = topology};
}

// ovi-model.md section 11: 295.4 TFLOP of linear layers and 172.3 of attention a step. Text embeddings and
// their keys and values, the patches and the heads, 1.6 TFLOP a pass, are not in a step here.
TEST(StepWork, OfOneRankIsTheModels) {
  const FusionConfig config = PublicFusion();
  const Topology alone;
  const StepWork work = StepWorkOf(Request(config, alone), 0);
  EXPECT_NEAR(work.matrix_flop / 1e12, 295.4, 4.0);
  EXPECT_NEAR(work.attention_flop / 1e12, 172.3, 1.0);
  EXPECT_EQ(work.exchanges, 0);
}

TEST(StepWork, IsSharedOutButForTheAudio) {
  const FusionConfig config = PublicFusion();
  const Topology alone;
  const Topology four{.world_size = 4, .sp = 4};
  const StepWork one = StepWorkOf(Request(config, alone), 0);
  const StepWork part = StepWorkOf(Request(config, four), 3);
  const double audio = 59 * 157 * (2.0 * (8 * 3072 * 3072 + 2 * 3072 * 14336));
  EXPECT_NEAR(part.matrix_flop, (one.matrix_flop - audio) / 4 + audio, 1e-3 * one.matrix_flop);
  EXPECT_NEAR(part.attention_flop, one.attention_flop / 4, 2e-3 * one.attention_flop);
}

TEST(StepTime, OfRanksThatExchangeForNothingIsTheirWork) {
  const FusionConfig config = PublicFusion();
  const RankSpeed speed{.matrix_flops = 50e12, .attention_flops = 25e12, .link_bytes = 1e18};
  const Topology alone;
  const Topology halves{.world_size = 2, .cfg = 2};
  const double one = StepTimeOf(Request(config, alone), speed).seconds();
  EXPECT_NEAR(one, 295.4 / 50 + 172.3 / 25, 0.1);
  // The positive pass has 30 of the 59 blocks.
  EXPECT_NEAR(StepTimeOf(Request(config, halves), speed).seconds(), one * 30 / 59, 1e-6);
}

TEST(StepTime, HidesWhatTheLinkDoesByItself) {
  const FusionConfig config = PublicFusion();
  const Topology four{.world_size = 4, .sp = 4};
  RankSpeed speed{.matrix_flops = 50e12, .attention_flops = 25e12, .link_bytes = 10e9, .overlap = 0};
  const StepTime open = StepTimeOf(Request(config, four), speed);
  speed.overlap = 1;
  const StepTime hidden = StepTimeOf(Request(config, four), speed);
  EXPECT_EQ(open.compute_seconds, hidden.compute_seconds);
  const StepTraffic traffic = StepTrafficOf(Request(config, four), 0);
  EXPECT_NEAR(open.exchange_seconds - hidden.exchange_seconds,
              static_cast<double>(traffic.all_to_all) / 2 / 10e9, 1e-9);
  // No link hides more than there is to compute.
  speed.link_bytes = 1e6;
  EXPECT_GT(StepTimeOf(Request(config, four), speed).exchange_seconds,
            static_cast<double>(traffic.total()) / 1e6 - hidden.compute_seconds - 1e-6);
}

TEST(StepTime, WaitsForTheSlowestRank) {
  const FusionConfig config = PublicFusion();
  const Topology two{.world_size = 2, .sp = 2};
  StepTrafficRequest request = Request(config, two);
  const RankSpeed speed{.matrix_flops = 50e12, .attention_flops = 25e12, .link_bytes = 1e18};
  const double equal = StepTimeOf(request, speed).compute_seconds;
  request.shares = {3, 1};  // three quarters of the tokens on a rank three times as fast
  const double unequal = StepTimeOf(request, speed).compute_seconds;
  EXPECT_GT(unequal, equal * 1.45);
  EXPECT_LT(unequal, equal * 1.6);
}

}  // namespace
}  // namespace ovi
