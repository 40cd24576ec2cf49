// Orders and outcomes arrive as they were sent, and broken ones are refused.
#include "worker/group/peer_message.h"

#include <gtest/gtest.h>

namespace ovi {
namespace {

TEST(PeerMessage, AnOrderArrivesAsItWasSent) {
  const PeerOrder orders[] = {
      {.kind = PeerOrder::Kind::kAssist, .sequence = 7, .run = std::string("a\0b", 3), .image = {480, 640}},
      {.kind = PeerOrder::Kind::kShutDown, .exit_code = 6},
      {}};
  for (const PeerOrder& order : orders) {
    const absl::StatusOr<PeerOrder> decoded = DecodeOrder(Encode(order));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, order);
  }
}

TEST(PeerMessage, AnOutcomeArrivesAsItWasSent) {
  const PeerOutcome outcome{
      .status = absl::ResourceExhaustedError("no room"),
      .stages = {{Stage::kDenoise, 2.5, 640}, {Stage::kDecode, 0.5, 1280}},
  };
  const absl::StatusOr<PeerOutcome> decoded = DecodeOutcome(Encode(outcome));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->status, outcome.status);
  ASSERT_EQ(decoded->stages.size(), 2u);
  EXPECT_EQ(decoded->stages[1].stage, Stage::kDecode);
  EXPECT_EQ(decoded->stages[1].seconds, 0.5);
  EXPECT_EQ(decoded->stages[1].arena_bytes_peak, 1280);
}

TEST(PeerMessage, RefusesWhatIsCutShortOrLonger) {
  const std::string order = Encode(PeerOrder{.run = "run"});
  const std::string outcome = Encode(PeerOutcome{.stages = {{Stage::kEncode, 1, 2}}});
  for (std::size_t length = 0; length < order.size(); ++length)
    EXPECT_FALSE(DecodeOrder(order.substr(0, length)).ok()) << length;
  for (std::size_t length = 0; length < outcome.size(); ++length)
    EXPECT_FALSE(DecodeOutcome(outcome.substr(0, length)).ok()) << length;
  EXPECT_FALSE(DecodeOrder(order + "x").ok());
  EXPECT_FALSE(DecodeOutcome(outcome + "x").ok());
  std::string unknown = order;
  unknown[0] = 17;
  EXPECT_FALSE(DecodeOrder(unknown).ok());
}

}  // namespace
}  // namespace ovi
