// Behaviour of the text encoder that no reference number shows. Its numbers are held to the original's in
// tests/golden.
#include "worker/model/text_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;

TEST(RelativeBucket, IsExactNearbyAndLogarithmicFarAway) {
  // Distance at which each bucket from 8 on begins, for 32 buckets up to 128; from the specification.
  const std::int64_t begins[] = {8, 12, 16, 23, 32, 46, 64, 91};
  for (std::int64_t n = 0; n < 2000; ++n) {
    std::int64_t expected = n;
    for (std::int64_t i = 0; n >= 8 && i < 8; ++i) {
      if (n >= begins[i]) expected = 8 + i;
    }
    ASSERT_EQ(RelativeBucket(-n, 32, 128), expected) << -n;
    ASSERT_EQ(RelativeBucket(n, 32, 128), n == 0 ? 0 : expected + 16) << n;
  }
}

TextConfig SmallConfig(std::int64_t layers = 2) {
  return {.vocab = 23,
          .dim = 20,
          .dim_attn = 24,
          .dim_ffn = 36,
          .heads = 3,
          .layers = layers,
          .buckets = 8,
          .max_distance = 20,
          .text_len = 16};
}

using Prompts = std::vector<std::vector<std::int32_t>>;
const Prompts kPrompts = {{3, 1, 4, 1, 5, 9, 2, 6, 22, 1}, {1}, {7, 7, 1}};

absl::Status NeverStop() {
  return absl::OkStatus();
}

std::vector<TextStates> Encode(TestDevice& device, const TextConfig& config, const Prompts& prompts,
                               PrecisionPolicy policy = PrecisionPolicy::kReference) {
  const MemoryWeights weights = RandomWeights(TextTensors(config), 3);
  auto states = EncodeText(device.runtime(), config, weights, policy, prompts, NeverStop);
  EXPECT_TRUE(states.ok()) << states.status();
  EXPECT_EQ(device.arena().bytes_in_use(), 0) << "everything is given back";
  return *std::move(states);
}

TEST(TextEncoder, GivesEachPromptTheStatesItHasAlone) {
  TestDevice device;
  for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
    const std::vector<TextStates> together = Encode(device, SmallConfig(), kPrompts, policy);
    ASSERT_EQ(together.size(), kPrompts.size());
    for (std::size_t i = 0; i < kPrompts.size(); ++i) {
      EXPECT_EQ(together[i].tokens, static_cast<std::int64_t>(kPrompts[i].size()));
      EXPECT_EQ(together[i].dim, 20);
      EXPECT_EQ(together[i].view().elements(), together[i].tokens * 20);
      EXPECT_EQ(Encode(device, SmallConfig(), {kPrompts[i]}, policy)[0].values, together[i].values) << i;
    }
  }
  EXPECT_TRUE(Encode(device, SmallConfig(), {}).empty());
}

TEST(TextEncoder, SeesOrderAndNeighbours) {
  TestDevice device;
  const auto states = Encode(device, SmallConfig(), {{3, 5, 1}, {5, 3, 1}, {3, 6, 1}});
  EXPECT_NE(states[0].values, states[1].values);
  for (int i = 0; i < 20; ++i) {
    EXPECT_NE(states[0].values[40 + static_cast<std::size_t>(i)],
              states[2].values[40 + static_cast<std::size_t>(i)])
        << "the last token has another neighbour";
  }
}

TEST(TextEncoder, AsExecutedStaysCloseToTheReferenceAndIsNotIt) {
  TestDevice device;
  const auto reference = Encode(device, SmallConfig(), kPrompts);
  const auto executed = Encode(device, SmallConfig(), kPrompts, PrecisionPolicy::kAsExecuted);
  float largest = 0;
  for (std::size_t i = 0; i < reference[0].values.size(); ++i) {
    largest = std::max(largest, std::fabs(reference[0].values[i] - executed[0].values[i]));
    EXPECT_EQ(RoundToBFloat16(executed[0].values[i]), executed[0].values[i]) << "a bf16 value";
  }
  EXPECT_GT(largest, 1e-4f);
  EXPECT_LT(largest, 0.1f) << "bf16 over two layers of values near 1";
}

TEST(TextEncoder, HoldsOneLayerAtATime) {
  std::int64_t peak[2];
  for (const std::int64_t i : {0, 1}) {
    TestDevice device;
    Encode(device, SmallConfig(i == 0 ? 2 : 7), kPrompts);
    peak[i] = device.arena().bytes_peak();
  }
  EXPECT_EQ(peak[0], peak[1]);
}

TEST(TextEncoder, RefusesWhatIsNoPrompt) {
  TestDevice device;
  const MemoryWeights weights = RandomWeights(TextTensors(SmallConfig()), 3);
  const struct {
    Prompts prompts;
    const char* message;
  } rows[] = {{{{1}, {}}, "a prompt needs at least one token"},
              {{{1, 23}}, "token id 23 is outside 0..22"},
              {{{-1}}, "token id -1 is outside 0..22"}};
  for (const auto& row : rows) {
    const absl::Status status = EncodeText(device.runtime(), SmallConfig(), weights,
                                           PrecisionPolicy::kReference, row.prompts, NeverStop)
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
    EXPECT_EQ(device.arena().bytes_in_use(), 0);
  }
}

TEST(TextEncoder, NamesTheTensorThatIsWrong) {
  TestDevice device;
  MemoryWeights missing = RandomWeights(TextTensors(SmallConfig()), 3);
  missing.Remove("blocks.1.ffn.gate.0.weight");
  MemoryWeights reshaped = RandomWeights(TextTensors(SmallConfig()), 3);
  reshaped.Add("blocks.0.attn.q.weight", {20, 24}, std::vector<float>(480));
  const struct {
    const MemoryWeights* weights;
    const char* message;
  } rows[] = {{&missing, "blocks.1.ffn.gate.0.weight"},
              {&reshaped, "blocks.0.attn.q.weight is 20x24, expected 24x20"}};
  for (const auto& row : rows) {
    const absl::Status status = EncodeText(device.runtime(), SmallConfig(), *row.weights,
                                           PrecisionPolicy::kReference, kPrompts, NeverStop)
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST(TextEncoder, StopsBetweenLayersWhenAskedTo) {
  TestDevice device;
  const MemoryWeights weights = RandomWeights(TextTensors(SmallConfig(5)), 3);
  int calls = 0;
  const auto stop_at_third = [&] {
    return ++calls < 3 ? absl::OkStatus() : absl::CancelledError("asked to");
  };
  const auto states = EncodeText(device.runtime(), SmallConfig(5), weights, PrecisionPolicy::kReference,
                                 kPrompts, stop_at_third);
  EXPECT_EQ(states.status(), absl::CancelledError("asked to"));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(device.arena().bytes_in_use(), 0);
}

TEST(TextEncoder, GivesBackAnArenaThatIsTooSmall) {
  TestDevice device(16 * 1024);
  const MemoryWeights weights = RandomWeights(TextTensors(SmallConfig()), 3);
  const auto states =
      EncodeText(device.runtime(), SmallConfig(), weights, PrecisionPolicy::kReference, kPrompts, NeverStop);
  EXPECT_EQ(states.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(device.arena().bytes_in_use(), 0);
}

TEST(TextEncoder, LeavesDeviceMemoryToTheBackend) {
  TestDevice plain;
  TestDevice guarded(std::int64_t{8} << 20, TestDevice::Guard::kOn);
  const auto expected = Encode(plain, SmallConfig(), kPrompts);
  EXPECT_EQ(Encode(guarded, SmallConfig(), kPrompts)[0].values, expected[0].values);
}

}  // namespace
}  // namespace ovi
