// What the user is told when a job does not run, now or ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/core/placement.h"
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

constexpr std::int64_t kMiB = 1 << 20;

NodeFacts Large(const std::string& name, const std::vector<std::int64_t>& gpu_mib) {
  NodeFacts node = Box(name, {});
  for (const std::int64_t mib : gpu_mib) {
    node.gpus.push_back({.index = static_cast<int>(node.gpus.size()), .bytes_total = mib * kMiB});
  }
  std::vector<MemoryNeed> needs;
  for (const int size : {1, 2, 4}) needs.push_back({.world_size = size, .as_executed_bytes = 15 * kMiB});
  for (const int size : {2, 3, 4}) {
    needs.push_back({.world_size = size, .fsdp = true, .as_executed_bytes = (15 - 2 * size) * kMiB});
  }
  node.models = {{.name = "mini-ovi", .needs = needs},
                 {.name = "720x720_5s", .needs = needs, .problem = "no weights"}};
  return node;
}

JobRequest Request(Allocation allocation, int gpu_count = 0) {
  return {.model_name = "mini-ovi", .allocation = allocation, .gpu_count = gpu_count};
}

void AddNode(State& state, const NodeFacts& facts) {
  state.nodes[facts.name] = {.facts = facts, .connected = true};
}

std::string Refusal(const State& state, const JobRequest& request) {
  const absl::Status fits = CheckFitsEver(state, request);
  if (fits.ok()) return "";
  EXPECT_EQ(fits.code(), absl::StatusCode::kFailedPrecondition);
  return std::string(fits.message());
}

TEST(CheckFitsEver, TakesAnythingWhileNoNodeIsKnown) {
  EXPECT_EQ(Refusal({}, {.model_name = "whatever"}), "");
}

TEST(CheckFitsEver, CountsLostAndDrainedNodesAndMemoryInUse) {
  State state;
  AddNode(state, Large("box-1", {16}));
  state.nodes.at("box-1").connected = false;
  state.nodes.at("box-1").facts.gpus[0].bytes_foreign = 16 * kMiB;
  state.drained["box-1"] = "fan";
  EXPECT_EQ(Refusal(state, Request(Allocation::kSingle)), "");
}

TEST(CheckFitsEver, NamesTheModelsThereAreAndTheNearest) {
  State state;
  AddNode(state, Large("box-1", {16}));
  EXPECT_EQ(Refusal(state, {.model_name = "mini-ovy"}),
            "model_name: no node has \"mini-ovy\"; did you mean \"mini-ovi\"?; there are: mini-ovi");
  EXPECT_EQ(Refusal(state, {.model_name = "720x720_5s"}),
            "model_name: no node has \"720x720_5s\"; box-1 has it, but: no weights; there are: mini-ovi");
}

TEST(CheckFitsEver, SaysWhatIsMissing) {
  State state;
  AddNode(state, Large("box-1", {16, 8}));
  AddNode(state, Large("box-2", {8}));
  EXPECT_EQ(Refusal(state, Request(Allocation::kMulti, 2)),
            "needs 2 GPUs with 15.0 MiB each on one node; the most there are: 1 on box-1; single would fit");
  EXPECT_EQ(Refusal(state, {.model_name = "mini-ovi", .reference = true}),
            "model_name: no node says how much memory \"mini-ovi\" needs in precision reference");
  state.nodes.at("box-1").facts.gpus[0].bytes_total = 12 * kMiB;
  EXPECT_EQ(Refusal(state, Request(Allocation::kAuto)),
            "needs 1 GPU with 15.0 MiB; the largest there is: 12.0 MiB on box-1");
  AddNode(state, Large("box-3", {16, 16, 16}));
  EXPECT_EQ(
      Refusal(state, Request(Allocation::kMulti, 3)),
      "\"mini-ovi\" cannot be divided among 3 ranks, only among 1, 2, 4; fsdp takes any number; multi_2 "
      "would fit");
  EXPECT_EQ(Refusal(state, Request(Allocation::kMulti, 8)),
            "needs 8 GPUs on one node; the most there are: 3 on box-3; multi_2 would fit");
  EXPECT_EQ(Refusal(state, Request(Allocation::kFsdp, 8)),
            "needs 8 GPUs on one node; the most there are: 3 on box-3; fsdp_3 would fit");
  EXPECT_EQ(Refusal(state, Request(Allocation::kMulti, -1)), "gpu_count: -1 GPUs make no sense");
}

TEST(CheckFitsEver, SpeaksOfFsdpWhereThatIsAskedForOrWouldHelp) {
  State state;
  AddNode(state, Large("box-1", {12, 12}));
  EXPECT_EQ(Refusal(state, Request(Allocation::kFsdp)), "");
  EXPECT_EQ(Refusal(state, Request(Allocation::kAuto)),
            "needs 1 GPU with 15.0 MiB; the largest there is: 12.0 MiB on box-1; fsdp_2 would fit");
  state.nodes.at("box-1").facts.gpus[1].bytes_total = kMiB;
  EXPECT_EQ(Refusal(state, Request(Allocation::kFsdp)),
            "needs 2 GPUs with 11.0 MiB each on one node; the most there are: 1 on box-1");
  state.nodes.at("box-1").facts.gpus.pop_back();
  EXPECT_EQ(Refusal(state, Request(Allocation::kFsdp)),
            "needs 2 GPUs with 11.0 MiB each on one node; the most there are: 1 on box-1");
}

// Alone 15 MiB in standard, 9 in fp8, 7 in fp8_offload, 5 in ultra_low; on more ranks as much; with fsdp as
// Large says in standard, half of it in the other modes.
NodeFacts LargeWithModes(const std::string& name, const std::vector<std::int64_t>& gpu_mib) {
  NodeFacts node = Large(name, gpu_mib);
  std::vector<MemoryNeed>& needs = node.models[0].needs;
  const std::vector<MemoryNeed> standard = needs;
  for (const auto& [mode, mib] : {std::pair(VramMode::kFp8, 9), std::pair(VramMode::kFp8Offload, 7),
                                  std::pair(VramMode::kUltraLow, 5)}) {
    for (MemoryNeed need : standard) {
      need.vram_mode = mode;
      need.as_executed_bytes = need.fsdp ? need.as_executed_bytes / 2 : mib * kMiB;
      needs.push_back(need);
    }
  }
  return node;
}

TEST(CheckFitsEver, NamesOfLowRankWeightsNoModeThatIsStandardThen) {
  State state;
  AddNode(state, LargeWithModes("box-1", {8}));
  for (MemoryNeed& need : state.nodes.at("box-1").facts.models[0].needs) {
    need.low_rank_bytes = need.vram_mode == VramMode::kFp8Offload ? 6 * kMiB : 9 * kMiB;
  }
  JobRequest request = In(VramMode::kStandard, Request(Allocation::kSingle));
  request.low_rank = true;
  EXPECT_EQ(Refusal(state, request),
            "needs 1 GPU with 9.0 MiB; the largest there is: 8.0 MiB on box-1; fp8_offload would fit");
}

TEST(CheckFitsEver, KeepsToTheLimitOfAJobAndSaysWhichWouldDo) {
  State state;
  AddNode(state, LargeWithModes("box-1", {16}));
  JobRequest request = Request(Allocation::kSingle);
  request.vram_bytes_max = 5 * kMiB;
  EXPECT_EQ(Refusal(state, request), "") << "ultra_low";
  EXPECT_EQ(Refusal(state, In(VramMode::kFp8, request)),
            "needs 1 GPU with 9.0 MiB in fp8, more than its max_vram, 5.0 MiB; ultra_low or max_vram 9437184 "
            "(9.0 MiB) would fit");
  request.vram_bytes_max = 4 * kMiB;
  EXPECT_EQ(Refusal(state, request),
            "needs 1 GPU with 5.0 MiB in ultra_low, more than its max_vram, 4.0 MiB; max_vram 5242880 (5.0 "
            "MiB) would fit");
  state.nodes.at("box-1").facts.gpus[0].bytes_total = 3 * kMiB;
  EXPECT_EQ(Refusal(state, request),
            "needs 1 GPU with 5.0 MiB in ultra_low, more than its max_vram, 4.0 MiB");
}

TEST(CheckFitsEver, BlamesTheLimitOnlyWhereNoNodeKeepsToIt) {
  State state;
  AddNode(state, Large("box-1", {24}));
  for (MemoryNeed& need : state.nodes.at("box-1").facts.models[0].needs) need.as_executed_bytes = 20 * kMiB;
  AddNode(state, Large("box-2", {8}));
  JobRequest request = Request(Allocation::kSingle);
  request.vram_bytes_max = 16 * kMiB;
  EXPECT_THAT(Refusal(state, request),
              StartsWith("needs 1 GPU with 15.0 MiB; the largest there is: 8.0 MiB on box-2"))
      << "15 MiB on box-2 are within the limit";
}

TEST(CheckFitsEver, TellsFiguresThatLookAlikeToTheByte) {
  State state;
  AddNode(state, Large("box-1", {16}));
  JobRequest request = Request(Allocation::kSingle);
  request.vram_bytes_max = 15 * kMiB - 1;
  EXPECT_EQ(Refusal(state, request),
            "needs 1 GPU with 15728640 bytes, more than its max_vram, 15728639 bytes; max_vram 15728640 "
            "(15.0 MiB) would fit");
  state.nodes.at("box-1").facts.gpus[0].bytes_total = 15 * kMiB - 1;
  EXPECT_EQ(Refusal(state, Request(Allocation::kSingle)),
            "needs 1 GPU with 15728640 bytes; the largest there is: 15728639 bytes on box-1");
}

TEST(CheckFitsEver, NamesTheModeThatWouldFit) {
  State state;
  AddNode(state, LargeWithModes("box-1", {8}));
  const JobRequest single = Request(Allocation::kSingle);
  EXPECT_EQ(Refusal(state, single), "") << "auto takes what fits";
  EXPECT_EQ(Refusal(state, In(VramMode::kUltraLow, single)), "");
  EXPECT_EQ(Refusal(state, In(VramMode::kStandard, single)),
            "needs 1 GPU with 15.0 MiB; the largest there is: 8.0 MiB on box-1; ultra_low would fit");
  EXPECT_EQ(Refusal(state, In(VramMode::kFp8, single)),
            "needs 1 GPU with 9.0 MiB in fp8; the largest there is: 8.0 MiB on box-1; ultra_low would fit");
  EXPECT_EQ(Refusal(state, In(VramMode::kStandard, Request(Allocation::kMulti, 2))),
            "needs 2 GPUs with 15.0 MiB each on one node; the largest there is: 8.0 MiB on box-1; single in "
            "ultra_low would fit");
  AddNode(state, LargeWithModes("box-2", {11, 11}));
  EXPECT_EQ(
      Refusal(state, In(VramMode::kStandard, single)),
      "needs 1 GPU with 15.0 MiB; the largest there is: 11.0 MiB on box-2; fsdp_2 or ultra_low would fit");
  state.nodes.clear();
  AddNode(state, LargeWithModes("box-1", {4}));
  EXPECT_EQ(Refusal(state, single),
            "needs 1 GPU with 5.0 MiB in ultra_low; the largest there is: 4.0 MiB on box-1");
  JobRequest reference = single;
  reference.reference = true;
  EXPECT_EQ(Refusal(state, reference),
            "model_name: no node says how much memory \"mini-ovi\" needs in precision reference");
}

TEST(CheckFitsEver, SaysWhereAgentsKnowNoModes) {
  State state;
  AddNode(state, Large("box-1", {16}));
  EXPECT_EQ(Refusal(state, In(VramMode::kFp8, Request(Allocation::kSingle))),
            "model_name: no node says how much memory \"mini-ovi\" needs in fp8; standard would fit");
}

TEST(PendingReason, NamesTheMode) {
  State state;
  AddNode(state, LargeWithModes("box-1", {8}));
  state.groups["g1-1"] = {.id = "g1-1",
                          .node = "box-1",
                          .gpu_indices = {0},
                          .bytes_per_rank = 5 * kMiB,
                          .model_name = "mini-ovi",
                          .state = GroupState::kBusy};
  EXPECT_EQ(WhyPending(state, Request(Allocation::kSingle)),
            "waits for 1 GPU with 5.0 MiB free in ultra_low (none is)");
}

TEST(PendingReason, SaysWhatTheJobWaitsFor) {
  State state;
  const JobRequest gang = Request(Allocation::kMulti, 2);
  EXPECT_EQ(WhyPending(state, gang), "waits for a node: none has connected yet");
  AddNode(state, Large("box-1", {16, 16}));
  EXPECT_EQ(WhyPending(state, gang), "waits for its turn");
  const JobRequest fsdp = Request(Allocation::kFsdp);
  state.groups["g1-1"] = {.id = "g1-1",
                          .node = "box-1",
                          .gpu_indices = {0},
                          .bytes_per_rank = 15 * kMiB,
                          .model_name = "mini-ovi",
                          .state = GroupState::kBusy};
  EXPECT_EQ(WhyPending(state, gang), "waits for 2 GPUs with 15.0 MiB free (largest free: 1 on box-1)");
  EXPECT_EQ(WhyPending(state, fsdp), "waits for 2 GPUs with 11.0 MiB free (largest free: 1 on box-1)");
  state.groups.at("g1-1").gpu_indices = {0, 1};
  EXPECT_EQ(WhyPending(state, gang), "waits for 2 GPUs with 15.0 MiB free (none is)");
  state.groups.at("g1-1").state = GroupState::kIdle;
  EXPECT_EQ(WhyPending(state, gang), "waits for idle groups on box-1 to end");
  EXPECT_EQ(WhyPending(state, gang, {"box-1"}), "waits for a node: box-1 failed it before");
  state.nodes.at("box-1").facts.gpus[0].faulty = true;
  EXPECT_EQ(WhyPending(state, gang),
            "waits for a node: box-1 has too little memory free of others, or faulty GPUs");
  state.drained["box-1"] = "fan";
  EXPECT_EQ(WhyPending(state, gang), "waits for a node: box-1 is drained");
  state.nodes.at("box-1").connected = false;
  EXPECT_EQ(WhyPending(state, gang), "waits for a node: box-1 is lost");
  EXPECT_THAT(WhyPending(state, Request(Allocation::kMulti, 4)), HasSubstr("the most there are: 2 on box-1"));
}

TEST(Options, ListsWhatFitsNowThenEverThenNever) {
  State state;
  EXPECT_THAT(Options(state, Request(Allocation::kAuto)), SizeIs(0));
  AddNode(state, Large("box-1", {16, 16}));
  state.groups["g1-1"] = {.id = "g1-1",
                          .node = "box-1",
                          .gpu_indices = {0},
                          .bytes_per_rank = 15 * kMiB,
                          .state = GroupState::kBusy};
  const std::vector<Option> options = Options(state, Request(Allocation::kAuto));
  ASSERT_THAT(options, SizeIs(3));
  EXPECT_EQ(options[0].world_size, 1);
  EXPECT_TRUE(options[0].fits_now && options[0].fits_ever);
  EXPECT_EQ(options[0].gpu_indices, std::vector<int>{1});
  EXPECT_EQ(options[0].reason, "1 GPU with 15.0 MiB free on box-1");
  EXPECT_EQ(options[1].world_size, 2);
  EXPECT_TRUE(!options[1].fits_now && options[1].fits_ever);
  EXPECT_EQ(options[1].reason, "2 GPUs with 15.0 MiB on box-1, but not now");
  EXPECT_EQ(options[2].world_size, 4);
  EXPECT_FALSE(options[2].fits_ever);
  EXPECT_EQ(options[2].bytes_per_rank, 15 * kMiB);
  EXPECT_EQ(options[2].reason, "needs 4 GPUs with 15.0 MiB each on one node; the most there are: 2 on box-1");
  const std::vector<Option> three = Options(state, Request(Allocation::kMulti, 3));
  ASSERT_THAT(three, SizeIs(1));
  EXPECT_EQ(three[0].bytes_per_rank, 0);
  EXPECT_EQ(three[0].reason, "needs 3 GPUs on one node; the most there are: 2 on box-1");
}

TEST(Options, SayTheModeAndThoseOfAnotherComeLater) {
  State state;
  AddNode(state, LargeWithModes("box-1", {16}));
  AddNode(state, LargeWithModes("box-2", {8, 8}));
  const std::vector<Option> options = Options(state, Request(Allocation::kAuto));
  ASSERT_THAT(options, SizeIs(3));
  EXPECT_EQ(options[0].world_size, 1);
  EXPECT_EQ(options[0].vram_mode, VramMode::kStandard);
  EXPECT_EQ(options[0].bytes_per_rank, 15 * kMiB);
  EXPECT_EQ(options[1].world_size, 2);
  EXPECT_TRUE(options[1].fits_now);
  EXPECT_EQ(options[1].vram_mode, VramMode::kUltraLow);
  EXPECT_EQ(options[1].bytes_per_rank, 5 * kMiB);
  EXPECT_EQ(options[1].node, "box-2");
  EXPECT_EQ(options[2].world_size, 4);
  EXPECT_FALSE(options[2].fits_ever);
  EXPECT_EQ(options[2].vram_mode, VramMode::kUltraLow) << "which takes least";
  EXPECT_EQ(Place(state, Request(Allocation::kAuto), {})->node, "box-1");
  const std::vector<Option> fp8 = Options(state, In(VramMode::kFp8, Request(Allocation::kSingle)));
  ASSERT_THAT(fp8, SizeIs(1));
  EXPECT_EQ(fp8[0].vram_mode, VramMode::kFp8);
  EXPECT_EQ(fp8[0].bytes_per_rank, 9 * kMiB);
}

TEST(Options, PutsFirstWhatPlaceWouldTake) {
  State state;
  AddNode(state, Large("box-1", {16, 16}));
  state.groups["g1-1"] = {.id = "g1-1",
                          .node = "box-1",
                          .gpu_indices = {0},
                          .bytes_per_rank = 15 * kMiB,
                          .model_name = "mini-ovi",
                          .state = GroupState::kIdle,
                          .attached = true};
  // A gang would need the idle group to end; the warm group runs at once.
  const std::vector<Option> options = Options(state, Request(Allocation::kAuto));
  EXPECT_EQ(options[0].world_size, 1);
  EXPECT_EQ(options[0].reason, "warm group g1-1 on box-1");
  EXPECT_EQ(Place(state, Request(Allocation::kAuto), {})->warm_group, "g1-1");
  EXPECT_TRUE(options[1].fits_now);
  EXPECT_EQ(options[1].reason, "2 GPUs with 15.0 MiB on box-1, once idle groups there have ended");
}

}  // namespace
}  // namespace ovi::core
