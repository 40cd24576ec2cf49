#include "coordinator/rpc/node_facts.h"

#include <gtest/gtest.h>

#include <functional>

namespace ovi {
namespace {

v1::NodeHello Hello() {
  v1::NodeHello hello;
  hello.set_protocol_version(1);
  hello.set_name("box-1");
  hello.set_instance_id("i");
  for (int i = 0; i < 2; ++i) {
    v1::Gpu& gpu = *hello.add_gpus();
    gpu.set_index(i);
    gpu.set_bytes_total(100);
  }
  v1::GroupFound& group = *hello.add_groups();
  group.set_group_id("g1-1");
  group.add_gpu_indices(0);
  return hello;
}

TEST(ParseHello, TakesWhatAnAgentSays) {
  v1::NodeHello hello = Hello();
  hello.mutable_gpus(1)->set_health(v1::GPU_HEALTH_FAULTY);
  hello.mutable_gpus(1)->set_declared(true);
  hello.add_models()->set_name("m");
  v1::MemoryNeed& need = *hello.mutable_models(0)->add_memory_needs();
  need.set_world_size(2);
  need.set_fsdp(true);
  need.set_as_executed_bytes(9);
  need.set_reference_bytes(18);
  need.set_low_rank_bytes(5);
  need.set_as_executed_bytes_useful(12);
  need.set_low_rank_bytes_useful(7);
  const absl::StatusOr<core::NodeConnected> event = ParseHello(hello);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->facts.gpus.size(), 2U);
  EXPECT_TRUE(event->facts.gpus[1].faulty);
  EXPECT_GT(event->facts.gpus[0].bytes_driver, 0);
  EXPECT_EQ(event->facts.gpus[1].bytes_driver, 0) << "declared: no driver is there";
  const core::MemoryNeed wanted{.world_size = 2,
                                .fsdp = true,
                                .as_executed_bytes = 9,
                                .reference_bytes = 18,
                                .low_rank_bytes = 5,
                                .as_executed_bytes_useful = 12,
                                .low_rank_bytes_useful = 7};
  EXPECT_EQ(event->facts.models[0].needs, std::vector<core::MemoryNeed>{wanted})
      << "an agent that knows no modes speaks of standard";
  EXPECT_EQ(event->groups[0].group, "g1-1");
}

TEST(ParseHello, TakesANeedForEveryMode) {
  v1::NodeHello hello = Hello();
  v1::ModelInfo& model = *hello.add_models();
  const auto add = [&model](v1::VramMode mode, std::int64_t bytes) {
    v1::MemoryNeed& need = *model.add_memory_needs();
    need.set_world_size(1);
    need.set_vram_mode(mode);
    need.set_as_executed_bytes(bytes);
  };
  add(v1::VRAM_MODE_STANDARD, 9);
  add(v1::VRAM_MODE_FP8, 8);
  add(v1::VRAM_MODE_FP8_OFFLOAD, 7);
  add(v1::VRAM_MODE_ULTRA_LOW, 6);
  add(static_cast<v1::VramMode>(99), 5);
  const absl::StatusOr<core::NodeConnected> event = ParseHello(hello);
  ASSERT_TRUE(event.ok()) << event.status();
  const std::vector<core::MemoryNeed> wanted = {{.vram_mode = VramMode::kStandard, .as_executed_bytes = 9},
                                                {.vram_mode = VramMode::kFp8, .as_executed_bytes = 8},
                                                {.vram_mode = VramMode::kFp8Offload, .as_executed_bytes = 7},
                                                {.vram_mode = VramMode::kUltraLow, .as_executed_bytes = 6}};
  EXPECT_EQ(event->facts.models[0].needs, wanted) << "without that of a mode only a newer agent knows";
}

TEST(ParseHello, RefusesFactsThatCannotBe) {
  using Spoil = std::function<void(v1::NodeHello&)>;
  const std::pair<Spoil, absl::StatusCode> rows[] = {
      {[](v1::NodeHello& h) { h.set_protocol_version(2); }, absl::StatusCode::kFailedPrecondition},
      {[](v1::NodeHello& h) { h.set_name(""); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.set_name("a b"); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.set_name(std::string(65, 'a')); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.set_instance_id(""); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.mutable_gpus(1)->set_index(5); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.mutable_gpus(0)->set_bytes_total(-1); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.add_models()->add_memory_needs(); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.add_models()->add_memory_needs()->set_world_size(65); },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) {
         v1::MemoryNeed& need = *h.add_models()->add_memory_needs();
         need.set_world_size(1);
         need.set_reference_bytes(-1);
       },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) {
         v1::MemoryNeed& need = *h.add_models()->add_memory_needs();
         need.set_world_size(1);
         need.set_low_rank_bytes_useful(-1);
       },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) {
         v1::ModelInfo& model = *h.add_models();
         model.add_memory_needs()->set_world_size(2);
         model.add_memory_needs()->set_world_size(2);
       },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) {
         v1::ModelInfo& model = *h.add_models();
         model.add_memory_needs()->set_world_size(2);
         model.mutable_memory_needs(0)->set_vram_mode(v1::VRAM_MODE_STANDARD);
         model.add_memory_needs()->set_world_size(2);
       },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) {
         v1::MemoryNeed& need = *h.add_models()->add_memory_needs();
         need.set_world_size(1);
         need.set_vram_mode(v1::VRAM_MODE_AUTO);
       },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.mutable_groups(0)->add_gpu_indices(0); }, absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.mutable_groups(0)->set_bytes_per_rank(-5); },
       absl::StatusCode::kInvalidArgument},
      {[](v1::NodeHello& h) { h.mutable_groups(0)->clear_group_id(); }, absl::StatusCode::kInvalidArgument},
  };
  for (const auto& [spoil, code] : rows) {
    v1::NodeHello hello = Hello();
    spoil(hello);
    EXPECT_EQ(ParseHello(hello).status().code(), code) << hello.ShortDebugString();
  }
}

TEST(ParseGroupHello, WantsOneGpuARank) {
  v1::GroupHello hello;
  hello.set_protocol_version(1);
  hello.set_group_id("g1-1");
  hello.set_node("box-1");
  hello.add_gpu_indices(3);
  hello.set_world_size(1);
  ASSERT_TRUE(ParseGroupHello(hello).ok());
  hello.set_world_size(2);
  EXPECT_EQ(ParseGroupHello(hello).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(NodeBook, ShowsWhatTheSchedulerKnowsBesideWhatTheAgentSaid) {
  const v1::NodeHello hello = Hello();
  NodeBook book;
  book.Welcome(hello);
  core::State state;
  core::Node node;
  node.facts = ParseHello(hello)->facts;
  node.connected = true;
  state.nodes["box-1"] = node;
  state.groups["g1-1"] = {.id = "g1-1",
                          .node = "box-1",
                          .gpu_indices = {1},
                          .bytes_per_rank = 30,
                          .model_name = "m",
                          .state = core::GroupState::kBusy,
                          .attempt = {4, 2}};
  const absl::StatusOr<v1::Node> shown = book.Get(state, "box-1");
  ASSERT_TRUE(shown.ok()) << shown.status();
  EXPECT_EQ(shown->state(), v1::NODE_STATE_READY);
  EXPECT_EQ(shown->gpu_bytes_reserved(1), 30);
  EXPECT_EQ(shown->groups(0).state(), v1::GROUP_STATE_BUSY);
  EXPECT_EQ(shown->groups(0).job_id(), "4");
  state.drained["box-1"] = "disk";
  EXPECT_EQ(book.Get(state, "box-1")->drain_reason(), "disk");
  state.nodes["box-1"].connected = false;
  EXPECT_EQ(book.List(state).at(0).state(), v1::NODE_STATE_LOST);
  EXPECT_EQ(book.Get(state, "other").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace ovi
