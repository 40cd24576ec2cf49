#include "coordinator/core/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

void AddNode(State& state, const NodeFacts& facts) {
  state.nodes[facts.name] = {.facts = facts, .connected = true};
}

void Occupy(State& state, Group group) {
  const GroupId id = group.id;
  state.groups[id] = std::move(group);
}

Group Idle(const GroupId& id, const std::string& node, std::vector<int> gpus,
           const std::string& model = "mini") {
  return {.id = id,
          .node = node,
          .gpu_indices = std::move(gpus),
          .bytes_per_rank = 6,
          .model_name = model,
          .state = GroupState::kIdle,
          .attached = true};
}

Group Busy(const GroupId& id, const std::string& node, std::vector<int> gpus) {
  Group group = Idle(id, node, std::move(gpus));
  group.state = GroupState::kBusy;
  return group;
}

const JobRequest kAuto{.model_name = "mini"};

struct Row {
  std::string name;
  JobRequest request;
  std::vector<NodeFacts> nodes;
  std::string node;  // "" = nowhere
  std::vector<int> gpus;
  std::int64_t bytes = 6;  // a rank
};

NodeFacts Foreign(NodeFacts node, int index, std::int64_t bytes) {
  node.gpus.at(static_cast<std::size_t>(index)).bytes_foreign = bytes;
  return node;
}

NodeFacts UpTo(NodeFacts node, int ranks_max) {
  for (ModelFacts& model : node.models)
    std::erase_if(model.needs, [=](const MemoryNeed& need) { return need.world_size > ranks_max; });
  return node;
}

// A model of which each rank of a gang takes less.
NodeFacts Shrinking(NodeFacts node) {
  for (MemoryNeed& need : node.models[0].needs)
    if (!need.fsdp) need.as_executed_bytes = 12 / need.world_size;
  return node;
}

NodeFacts Faulty(NodeFacts node, int index) {
  node.gpus.at(static_cast<std::size_t>(index)).faulty = true;
  return node;
}

NodeFacts WithProblem(NodeFacts node) {
  node.models[0].problem = "no weights";
  return node;
}

TEST(Place, TakesWhatTheTableSays) {
  JobRequest reference = Single();
  reference.reference = true;
  const JobRequest fsdp{.model_name = "mini", .allocation = Allocation::kFsdp};
  const JobRequest fsdp_3{.model_name = "mini", .allocation = Allocation::kFsdp, .gpu_count = 3};
  const JobRequest fsdp_4{.model_name = "mini", .allocation = Allocation::kFsdp, .gpu_count = 4};
  const std::vector<Row> rows = {
      {"the least that fits on a box", Single(), {Box("a", {24, 8, 16})}, "a", {1}},
      {"the least that fits over all boxes", Single(), {Box("a", {24}), Box("b", {8})}, "b", {0}},
      {"nothing is large enough", Single(), {Box("a", {5})}, "", {}},
      {"precision reference needs more", reference, {Box("a", {8, 16})}, "a", {1}, 14},
      {"of equals the box with fewest, so that gangs keep theirs",
       Single(),
       {Box("a", {8, 8}), Box("b", {8})},
       "b",
       {0}},
      {"of equals the first", Single(), {Box("a", {8}), Box("b", {8})}, "a", {0}},
      {"a gang takes the smallest of one box", Multi(2), {Box("a", {24, 8, 16})}, "a", {1, 2}},
      {"a gang is never split over boxes", Multi(2), {Box("a", {8}), Box("b", {8})}, "", {}},
      {"a model that cannot be divided so", Multi(3), {Box("a", {8, 8, 8})}, "", {}},
      {"a gang by what its ranks take, not one alone",
       Multi(2),
       {Shrinking(Box("a", {8, 7, 24, 5}))},
       "a",
       {0, 1}},
      {"auto, where only a gang is small enough", kAuto, {Shrinking(Box("a", {8, 8, 5}))}, "a", {0, 1}},
      {"auto, 1 free", kAuto, {Box("a", {8})}, "a", {0}},
      {"auto, 2 free", kAuto, {Box("a", {8, 8})}, "a", {0, 1}},
      {"auto, 3 free", kAuto, {Box("a", {8, 8, 8})}, "a", {0, 1}},
      {"auto, 4 free", kAuto, {Box("a", {8, 8, 8, 8})}, "a", {0, 1, 2, 3}},
      {"auto, 5 free", kAuto, {Box("a", {24, 8, 8, 8, 8})}, "a", {1, 2, 3, 4}},
      {"auto counts those that are large enough", kAuto, {Box("a", {8, 5, 5, 8})}, "a", {0, 3}},
      {"auto, 4 free and a model for 2", kAuto, {UpTo(Box("a", {8, 8, 8, 8}), 2)}, "a", {0, 1}},
      {"auto, 4 free and a model for 1", kAuto, {UpTo(Box("a", {8, 8, 8, 8}), 1)}, "a", {0}},
      {"auto prefers the box with more", kAuto, {Box("a", {8}), Box("b", {24, 24})}, "b", {0, 1}},
      {"fsdp takes all there are", fsdp, {Box("a", {8, 8, 8})}, "a", {0, 1, 2}, 3},
      {"fsdp takes the box with most", fsdp, {Box("a", {8, 8}), Box("b", {8, 8, 8})}, "b", {0, 1, 2}, 3},
      {"fsdp, each large enough for its share then", fsdp, {Box("a", {1, 3, 3, 3})}, "a", {1, 2, 3}, 3},
      {"fsdp, the shares of two are too large", fsdp, {Box("a", {3, 3})}, "", {}},
      {"fsdp is for two at least", fsdp, {Box("a", {24})}, "", {}},
      {"fsdp as far as the model goes", fsdp, {UpTo(Box("a", {8, 8, 8, 8}), 3)}, "a", {0, 1, 2}, 3},
      {"fsdp with a number takes that", fsdp_4, {Box("a", {8, 8, 8})}, "", {}},
      {"fsdp with a number takes no more", fsdp_3, {Box("a", {8, 8, 8, 8})}, "a", {0, 1, 2}, 3},
      {"foreign bytes are not free", Single(), {Foreign(Box("a", {8, 24}), 0, 3)}, "a", {1}},
      {"foreign bytes that leave enough", Single(), {Foreign(Box("a", {8, 24}), 0, 2)}, "a", {0}},
      {"a faulty GPU is not used", Single(), {Faulty(Box("a", {8, 24}), 0)}, "a", {1}},
      {"nor does it count for a gang", Multi(2), {Faulty(Box("a", {8, 24}), 0)}, "", {}},
      {"a model with a problem is not there",
       Single(),
       {WithProblem(Box("a", {8})), Box("b", {24})},
       "b",
       {0}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    State state;
    for (const NodeFacts& node : row.nodes) AddNode(state, node);
    const std::optional<Placement> placement = Place(state, row.request, {});
    ASSERT_EQ(placement.has_value(), !row.node.empty());
    if (!placement) continue;
    EXPECT_EQ(placement->node, row.node);
    EXPECT_EQ(placement->gpu_indices, row.gpus);
    EXPECT_EQ(placement->bytes_per_rank, row.bytes);
    EXPECT_EQ(placement->warm_group, "");
    EXPECT_THAT(placement->evicted, IsEmpty());
  }
}

TEST(Place, TakesTheModeThatIsAskedForOrTheBestThatTheClusterHolds) {
  struct {
    std::string name;
    JobRequest request;
    std::vector<NodeFacts> nodes;
    std::string node;
    VramMode mode = VramMode::kStandard;
    std::int64_t bytes = 0;
  } const rows[] = {
      {"standard", In(VramMode::kStandard), {Box("a", {8})}, "a", VramMode::kStandard, 6},
      {"fp8", In(VramMode::kFp8), {Box("a", {8})}, "a", VramMode::kFp8, 5},
      {"fp8_offload", In(VramMode::kFp8Offload), {Box("a", {4})}, "a", VramMode::kFp8Offload, 4},
      {"ultra_low", In(VramMode::kUltraLow), {Box("a", {8})}, "a", VramMode::kUltraLow, 3},
      {"standard where only less fits", In(VramMode::kStandard), {Box("a", {5})}, ""},
      {"auto, all fit", Single(), {Box("a", {8})}, "a", VramMode::kStandard, 6},
      {"auto, standard does not", Single(), {Box("a", {5})}, "a", VramMode::kUltraLow, 3},
      {"auto, nothing fits", Single(), {Box("a", {2})}, ""},
      {"auto, the box that holds standard",
       Single(),
       {Box("a", {5}), Box("b", {24})},
       "b",
       VramMode::kStandard,
       6},
      {"auto counts what others have", Single(), {Foreign(Box("a", {8}), 0, 3)}, "a", VramMode::kUltraLow, 3},
      {"auto counts no faulty GPU", Single(), {Faulty(Box("a", {8, 5}), 0)}, "a", VramMode::kUltraLow, 3},
      {"auto, few in standard before many in less",
       kAuto,
       {Box("a", {5, 5, 5, 5}), Box("b", {8})},
       "b",
       VramMode::kStandard,
       6},
      {"auto, many in less where none holds standard",
       kAuto,
       {Box("a", {5, 5, 5, 5})},
       "a",
       VramMode::kUltraLow,
       3},
      {"a gang by its own figures", In(VramMode::kFp8, Multi(2)), {Box("a", {5, 5})}, "a", VramMode::kFp8, 5},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    State state;
    for (const NodeFacts& node : row.nodes) AddNode(state, WithModes(node));
    const std::optional<Placement> placement = Place(state, row.request, {});
    ASSERT_EQ(placement.has_value(), !row.node.empty());
    if (!placement) continue;
    EXPECT_EQ(placement->node, row.node);
    EXPECT_STREQ(ToString(placement->vram_mode), ToString(row.mode));
    EXPECT_EQ(placement->bytes_per_rank, row.bytes);
  }
}

TEST(Place, RunsPrecisionReferenceInStandardOnly) {
  State state;
  AddNode(state, WithModes(Box("a", {24})));
  JobRequest reference = Single();
  reference.reference = true;
  EXPECT_EQ(Place(state, reference, {})->bytes_per_rank, 14);
  state.nodes.at("a").facts.gpus[0].bytes_total = 13;
  EXPECT_EQ(Place(state, reference, {}), std::nullopt);
}

TEST(Place, WaitsForStandardRatherThanTakeLess) {
  State state;
  AddNode(state, WithModes(Box("a", {8})));
  AddNode(state, WithModes(Box("b", {5})));
  Occupy(state, Busy("g1-1", "a", {0}));
  EXPECT_EQ(Place(state, Single(), {}), std::nullopt) << "the other job ends";
  EXPECT_EQ(WhyPending(state, Single()), "waits for 1 GPU with 6 B free (none is)");
  EXPECT_EQ(Place(state, In(VramMode::kUltraLow), {})->node, "b");
}

TEST(Place, DoesNotWaitForWhatIsNotOurs) {
  const auto mode = [](const State& state, const std::set<std::string>& avoid = {}) {
    const auto placement = Place(state, Single(), avoid);
    return placement ? ToString(placement->vram_mode) : "none";
  };
  State state;
  AddNode(state, WithModes(Box("a", {8})));
  AddNode(state, WithModes(Box("b", {5})));
  EXPECT_STREQ(mode(state), "standard");
  EXPECT_STREQ(mode(state, {"a"}), "ultra_low");
  state.nodes.at("a").connected = false;
  EXPECT_STREQ(mode(state), "none") << "it may be back in a moment";
  EXPECT_EQ(WhyPending(state, Single()), "waits for a node: a is lost");
  state.nodes.at("a").given_up = true;
  EXPECT_STREQ(mode(state), "ultra_low");
  state.nodes.at("a") = {.facts = WithModes(Box("a", {8})), .connected = true};
  state.drained["a"] = "fan";
  EXPECT_STREQ(mode(state), "ultra_low");
}

TEST(Place, UsesAWarmGroupWhoseBytesAreEnoughForTheMode) {
  State state;
  AddNode(state, WithModes(Box("a", {8, 8})));
  Occupy(state, Idle("g1-1", "a", {0}));
  state.groups.at("g1-1").bytes_per_rank = 4;  // of a job in fp8_offload
  EXPECT_EQ(Place(state, Single(), {})->warm_group, "") << "too little for standard, which is what it gets";
  EXPECT_EQ(Place(state, In(VramMode::kFp8), {})->warm_group, "");
  const auto placement = Place(state, In(VramMode::kUltraLow), {});
  EXPECT_EQ(placement->warm_group, "g1-1");
  EXPECT_EQ(placement->vram_mode, VramMode::kUltraLow);
  EXPECT_EQ(placement->bytes_per_rank, 4) << "what the group has";
}

TEST(Place, SkipsLostDrainedAndAvoidedNodes) {
  State state;
  AddNode(state, Box("a", {8}));
  AddNode(state, Box("b", {8}));
  AddNode(state, Box("c", {24}));
  EXPECT_EQ(Place(state, Single(), {})->node, "a");
  state.nodes.at("a").connected = false;
  EXPECT_EQ(Place(state, Single(), {})->node, "b");
  state.drained["b"] = "fan";
  EXPECT_EQ(Place(state, Single(), {})->node, "c");
  EXPECT_FALSE(Place(state, Single(), {"c"}));
}

TEST(Place, PrefersAWarmGroupOfTheSameModelAndSize) {
  State state;
  AddNode(state, Box("a", {8, 8, 8}));
  Occupy(state, Idle("g1-1", "a", {1}));
  const auto placement = Place(state, Single(), {});
  EXPECT_EQ(placement->warm_group, "g1-1");
  EXPECT_EQ(placement->gpu_indices, std::vector<int>{1});
  EXPECT_EQ(Place(state, Single("other"), {})->warm_group, "");
  EXPECT_EQ(Place(state, Multi(2), {})->warm_group, "");
  EXPECT_EQ(Place(state, Single(), {"a"}), std::nullopt);
}

TEST(Place, UsesNoWarmGroupThatIsDetachedTooSmallOrOnAFaultyGpu) {
  State state;
  AddNode(state, Box("a", {24, 24}));
  Occupy(state, Idle("g1-1", "a", {1}));
  JobRequest reference = Single();
  reference.reference = true;
  EXPECT_EQ(Place(state, reference, {})->warm_group, "");
  state.groups.at("g1-1").attached = false;
  EXPECT_EQ(Place(state, Single(), {})->warm_group, "");
  state.groups.at("g1-1").attached = true;
  state.nodes.at("a").facts.gpus[1].faulty = true;
  EXPECT_EQ(Place(state, Single(), {})->warm_group, "");
}

TEST(Place, TakesNoModeAndNoNumberOfRanksBeyondTheLimitOfAJob) {
  State state;
  AddNode(state, WithModes(Box("a", {24, 24, 24, 24})));
  JobRequest request = Single();
  request.vram_bytes_max = 6;
  EXPECT_EQ(Place(state, request, {})->vram_mode, VramMode::kStandard) << "exactly";
  request.vram_bytes_max = 5;
  EXPECT_EQ(Place(state, request, {})->vram_mode, VramMode::kUltraLow);
  EXPECT_FALSE(Place(state, In(VramMode::kStandard, request), {}));
  request.vram_bytes_max = 2;
  EXPECT_FALSE(Place(state, request, {}));
  request.allocation = Allocation::kFsdp;
  request.gpu_count = 0;
  EXPECT_EQ(Place(state, In(VramMode::kStandard, request), {})->gpu_indices.size(), 4u)
      << "whose share is 2 bytes";
}

TEST(Place, KeepsToTheLimitOfAJobOnEveryNode) {
  State state;
  AddNode(state, Box("a", {24}));
  AddNode(state, Box("b", {24}));
  for (MemoryNeed& need : state.nodes.at("a").facts.models[0].needs) need.as_executed_bytes = 8;
  Occupy(state, Idle("g1-1", "a", {0}));
  state.groups.at("g1-1").bytes_per_rank = 8;
  JobRequest request = Single();
  request.vram_bytes_max = 7;
  const auto placement = Place(state, request, {});
  ASSERT_TRUE(placement);
  EXPECT_EQ(placement->node, "b") << "on a, its ranks would refuse it";
}

// 9 bytes in standard, 8 in fp8, 7 in fp8_offload, 3 in ultra_low; in the low-rank form 5 on the device, 4
// streamed.
NodeFacts WithLowRank(const std::string& name, const std::vector<std::int64_t>& gpu_bytes) {
  NodeFacts node = Box(name, gpu_bytes);
  node.models.resize(1);
  const auto need = [](VramMode mode, std::int64_t bytes, std::int64_t low_rank) {
    return MemoryNeed{.vram_mode = mode, .as_executed_bytes = bytes, .low_rank_bytes = low_rank};
  };
  node.models[0].needs = {need(VramMode::kStandard, 9, 5), need(VramMode::kFp8, 8, 5),
                          need(VramMode::kFp8Offload, 7, 4), need(VramMode::kUltraLow, 3, 2)};
  return node;
}

JobRequest LowRank(VramMode mode = VramMode::kAuto) {
  JobRequest request = Single();
  request.low_rank = true;
  request.vram_mode = mode;
  return request;
}

TEST(Place, GoesByWhatTheLowRankFormTakes) {
  const struct {
    const char* name;
    std::int64_t gpu_bytes;
    VramMode asked;
    std::optional<VramMode> mode;
    std::int64_t bytes;
  } rows[] = {
      {"standard, on a GPU that is too small for whole matrices", 5, VramMode::kAuto, VramMode::kStandard, 5},
      {"fp8 is standard then", 5, VramMode::kFp8, VramMode::kFp8, 5},
      {"fp8_offload is ahead of ultra_low", 4, VramMode::kAuto, VramMode::kFp8Offload, 4},
      {"ultra_low is the last", 3, VramMode::kAuto, VramMode::kUltraLow, 2},
      {"nothing", 1, VramMode::kAuto, std::nullopt, 0},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    State state;
    AddNode(state, WithLowRank("a", {row.gpu_bytes}));
    const auto placement = Place(state, LowRank(row.asked), {});
    ASSERT_EQ(placement.has_value(), row.mode.has_value());
    if (!placement) continue;
    EXPECT_EQ(placement->vram_mode, *row.mode);
    EXPECT_EQ(placement->bytes_per_rank, row.bytes);
  }
}

TEST(Place, TakesWholeMatricesForTheLowRankFormOfAgentsThatDoNotSay) {
  State state;
  AddNode(state, WithLowRank("a", {8}));
  for (MemoryNeed& need : state.nodes.at("a").facts.models[0].needs) need.low_rank_bytes = 0;
  const auto placement = Place(state, LowRank(), {});
  ASSERT_TRUE(placement);
  EXPECT_EQ(placement->vram_mode, VramMode::kFp8Offload);
  EXPECT_EQ(placement->bytes_per_rank, 7);
}

// 4 bytes at least, alone and on two, and a use for up to 10; in the low-rank form for up to 7.
NodeFacts Streaming(const std::string& name, const std::vector<std::int64_t>& gpu_bytes) {
  NodeFacts node = Box(name, gpu_bytes);
  for (ModelFacts& model : node.models) {
    model.needs.clear();
    for (const int size : {1, 2}) {
      model.needs.push_back({.world_size = size,
                             .as_executed_bytes = 4,
                             .reference_bytes = 4,
                             .low_rank_bytes = 3,
                             .as_executed_bytes_useful = 10,
                             .low_rank_bytes_useful = 7});
    }
  }
  return node;
}

TEST(Place, GivesAGroupThatHasItsGpusAloneWhatItHasAUseFor) {
  JobRequest limited = Single();
  limited.vram_bytes_max = 6;
  JobRequest low_rank = Single();
  low_rank.low_rank = true;
  JobRequest reference = Single();
  reference.reference = true;
  const struct {
    const char* name;
    JobRequest request;
    NodeFacts node;
    std::int64_t bytes;
    int groups_per_gpu_max = 1;
  } rows[] = {
      {"all that is free", Single(), Streaming("a", {8}), 8},
      {"no more than is of use", Single(), Streaming("a", {24}), 10},
      {"of the low-rank form", low_rank, Streaming("a", {24}), 7},
      {"precision reference streams nothing", reference, Streaming("a", {24}), 4},
      {"no more than the job may take", limited, Streaming("a", {24}), 6},
      {"what others leave", Single(), Foreign(Streaming("a", {8}), 0, 3), 5},
      {"all ranks alike, by the least of their GPUs", Multi(2), Streaming("a", {24, 6}), 6},
      {"the need where others may come", Single(), Streaming("a", {24}), 4, 2},
      {"the need where an agent says no more", Single(), Box("a", {24}), 6},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    State state;
    state.policy.groups_per_gpu_max = row.groups_per_gpu_max;
    AddNode(state, row.node);
    const auto placement = Place(state, row.request, {});
    ASSERT_TRUE(placement);
    EXPECT_EQ(placement->bytes_per_rank, row.bytes);
  }
}

TEST(Place, LeavesTheDriverItsPartOfWhatIsMoreThanTheNeed) {
  State state;
  AddNode(state, Streaming("a", {8}));
  std::int64_t& bytes_driver = state.nodes.at("a").facts.gpus[0].bytes_driver;
  bytes_driver = 1;
  EXPECT_EQ(Place(state, Single(), {})->bytes_per_rank, 7);
  bytes_driver = 4;
  EXPECT_EQ(Place(state, Single(), {})->bytes_per_rank, 4) << "what is needed";
}

TEST(Place, LeavesTheDriverItsPartOfEveryRank) {
  State state;
  AddNode(state, Box("a", {8}));
  GpuFacts& gpu = state.nodes.at("a").facts.gpus[0];
  gpu.bytes_driver = 2;
  EXPECT_EQ(Place(state, Single(), {})->bytes_per_rank, 6);
  gpu.bytes_foreign = 1;
  EXPECT_FALSE(Place(state, Single(), {}));
  EXPECT_TRUE(CheckFitsEver(state, Single()).ok()) << "once the others are gone";
  gpu = {.bytes_total = 8, .bytes_driver = 3};
  EXPECT_FALSE(Place(state, Single(), {}));
  EXPECT_EQ(CheckFitsEver(state, Single()).message(), "needs 1 GPU with 6 B; the largest there is: 5 B on a");
  gpu.bytes_total = 18;
  state.policy.groups_per_gpu_max = 2;
  EXPECT_TRUE(Place(state, Single(), {}));
  Occupy(state, Busy("g1-1", "a", {0}));
  EXPECT_TRUE(Place(state, Single(), {})) << "2 x (6 + 3) bytes";
  gpu.bytes_total = 17;
  EXPECT_FALSE(Place(state, Single(), {}));
  state.groups.at("g1-1").state = GroupState::kIdle;
  state.groups.at("g1-1").model_name = "other";
  EXPECT_THAT(Place(state, Single(), {})->evicted, ElementsAre("g1-1"));
}

TEST(Place, ChoosesGpusByTheNeedAndReusesAGroupThatWasGivenMore) {
  State state;
  AddNode(state, Streaming("a", {24, 6}));
  EXPECT_THAT(Place(state, Single(), {})->gpu_indices, ElementsAre(1)) << "the closest fit";
  Occupy(state, Idle("g1-1", "a", {0}));
  state.groups.at("g1-1").bytes_per_rank = 10;
  const auto warm = Place(state, Single(), {});
  EXPECT_EQ(warm->warm_group, "g1-1");
  EXPECT_EQ(warm->bytes_per_rank, 10);
  state.groups.at("g1-1").model_name = "other";
  const auto gang = Place(state, Multi(2), {});
  EXPECT_THAT(gang->evicted, ElementsAre("g1-1"));
  EXPECT_EQ(gang->bytes_per_rank, 6) << "with what the group that goes leaves";
}

TEST(Options, SayWhatIsNeededAlsoWhereAGroupIsGivenMore) {
  State state;
  AddNode(state, Streaming("a", {24}));
  const std::vector<Option> options = Options(state, Single());
  ASSERT_EQ(options.size(), 1u);
  EXPECT_EQ(options[0].bytes_per_rank, 4);
  EXPECT_THAT(options[0].reason, HasSubstr("1 GPU with 4 B free"));
}

TEST(Place, UsesAWarmGroupForAnotherKindOfGroupWhereItsBytesAreEnough) {
  State state;
  AddNode(state, Box("a", {24, 24}));
  Occupy(state, Idle("g1-1", "a", {0, 1}));
  const JobRequest fsdp{.model_name = "mini", .allocation = Allocation::kFsdp};
  EXPECT_EQ(Place(state, fsdp, {})->warm_group, "g1-1");
  state.groups.at("g1-1").bytes_per_rank = 4;  // of an fsdp job
  EXPECT_EQ(Place(state, fsdp, {})->warm_group, "g1-1");
  EXPECT_EQ(Place(state, Multi(2), {})->warm_group, "");
}

TEST(Place, TakesTheSmallestWarmGroupThatIsLargeEnough) {
  State state;
  AddNode(state, Box("a", {24, 24}));
  Occupy(state, Idle("g1-1", "a", {0}));
  Occupy(state, Idle("g2-1", "a", {1}));
  state.groups.at("g1-1").bytes_per_rank = 14;
  EXPECT_EQ(Place(state, Single(), {})->warm_group, "g2-1");
}

TEST(Place, EvictsIdleGroupsOnlyWhereNothingElseDoesAndAsFewAsItCan) {
  State state;
  AddNode(state, Box("a", {8, 8, 8}));
  Occupy(state, Idle("g1-1", "a", {0}, "other"));
  EXPECT_THAT(Place(state, Single(), {})->evicted, IsEmpty());
  Occupy(state, Busy("g2-1", "a", {1}));
  const auto gang = Place(state, Multi(2), {});
  EXPECT_EQ(gang->gpu_indices, (std::vector<int>{0, 2}));
  EXPECT_THAT(gang->evicted, ElementsAre("g1-1"));
  EXPECT_FALSE(Place(state, Multi(4), {}));
}

TEST(Place, EvictsTheGroupThatDidNothingForTheLongestTime) {
  State state;
  state.policy.groups_per_gpu_max = 2;
  AddNode(state, Box("a", {12}));
  Occupy(state, Idle("g1-1", "a", {0}, "other"));
  Occupy(state, Idle("g2-1", "a", {0}, "other"));
  state.groups.at("g1-1").changed_at = 20;
  state.groups.at("g2-1").changed_at = 10;
  EXPECT_THAT(Place(state, Single(), {})->evicted, ElementsAre("g2-1"));
}

TEST(Place, LetsGroupsShareAGpuOnlyAsFarAsPolicyAndBytesAllow) {
  State state;
  AddNode(state, Box("a", {16}));
  Occupy(state, Busy("g1-1", "a", {0}));
  EXPECT_FALSE(Place(state, Single(), {}));
  state.policy.groups_per_gpu_max = 3;
  EXPECT_TRUE(Place(state, Single(), {}));
  Occupy(state, Busy("g2-1", "a", {0}));
  EXPECT_FALSE(Place(state, Single(), {}));  // 4 bytes are left
}

TEST(BytesFree, SubtractsWhatOthersHaveAndIsNeverNegative) {
  State state;
  AddNode(state, Foreign(Box("a", {24, 8}), 0, 5));
  const Node& node = state.nodes.at("a");
  EXPECT_EQ(BytesFree(state, node, 0), 19);
  Occupy(state, Busy("g1-1", "a", {0, 1}));
  EXPECT_EQ(BytesFree(state, node, 0), 13);
  EXPECT_EQ(BytesFree(state, node, 1), 2);
  Occupy(state, Busy("g2-1", "a", {1}));
  EXPECT_EQ(BytesReserved(state, "a", 0), 6);
  EXPECT_EQ(BytesReserved(state, "a", 1), 12);
  EXPECT_EQ(BytesReserved(state, "b", 1), 0);
  EXPECT_EQ(BytesFree(state, node, 1), 0);
  EXPECT_EQ(BytesFree(state, node, 2), 0);
  EXPECT_EQ(BytesFree(state, node, -1), 0);
}

}  // namespace
}  // namespace ovi::core
