// Memory that is ours and memory that is not.
#include "worker/agent/gpu_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ovi {
namespace {

constexpr std::int64_t kGib = std::int64_t{1} << 30;

LivingGroup GroupOn(int gpu, std::int64_t bytes, pid_t keeper) {
  LivingGroup group;
  group.facts.add_gpu_indices(gpu);
  group.facts.set_bytes_per_rank(bytes);
  group.keeper_pid = keeper;
  return group;
}

GpuReading Used(std::int64_t bytes) {
  return {.index = 1, .name = "a", .uuid = "GPU-1", .bytes_total = 24 * kGib, .bytes_used = bytes};
}

TEST(OurProcesses, AreTheKeepersAndAllBelow) {
  const std::vector<ProcessInfo> processes = {{.pid = 10, .parent = 1},
                                              {.pid = 11, .parent = 10},
                                              {.pid = 12, .parent = 11},
                                              {.pid = 20, .parent = 1}};
  EXPECT_THAT(OurProcesses(processes, std::vector{GroupOn(0, 1, 10)}), testing::ElementsAre(10, 11, 12));
  EXPECT_THAT(OurProcesses(processes, std::vector{GroupOn(0, 1, 0)}), testing::IsEmpty()) << "not known yet";
}

TEST(BytesForeign, AreWhatOthersUseAndTheDriver) {
  GpuReading gpu = Used(10 * kGib);
  EXPECT_EQ(BytesForeign(gpu, {}, {}), 10 * kGib);
  gpu.processes = {{.pid = 11, .bytes = 6 * kGib}, {.pid = 99, .bytes = 3 * kGib}};
  EXPECT_EQ(BytesForeign(gpu, {11, 12}, {}), 4 * kGib) << "3 of another program, 1 of the driver";
  gpu.processes[0].bytes = 20 * kGib;
  EXPECT_EQ(BytesForeign(gpu, {11}, {}), 0) << "never negative";
}

TEST(BytesForeign, OfAProcessThatTheDriverDoesNotMeasureAreWhatItsGroupMayUse) {
  GpuReading gpu = Used(10 * kGib);
  gpu.processes = {{.pid = 11, .bytes = std::nullopt}};
  const std::vector groups = {GroupOn(1, 8 * kGib, 10), GroupOn(0, 5 * kGib, 20)};
  EXPECT_EQ(BytesForeign(gpu, {11}, groups), 2 * kGib);
  EXPECT_EQ(BytesForeign(gpu, {}, groups), 10 * kGib) << "it is not ours";
}

TEST(BytesForeign, OfADeclaredGpuAreNone) {
  GpuReading gpu = Used(10 * kGib);
  gpu.declared = true;
  EXPECT_EQ(BytesForeign(gpu, {}, {}), 0);
}

TEST(GpuFacts, SayAllThatIsKnownAndNothingElse) {
  GpuReading gpu = Used(kGib);
  gpu.temperature_celsius = 50;
  gpu.processes = {{.pid = 11, .bytes = kGib}, {.pid = 12, .bytes = std::nullopt}};
  gpu.peers = {{.index = 0, .kind = "NV4"}};
  gpu.numa_node = "0";
  const v1::Gpu facts = GpuFacts(gpu, {11}, {});
  EXPECT_EQ(facts.health(), v1::GPU_HEALTH_OK);
  EXPECT_EQ(facts.temperature_celsius(), 50);
  EXPECT_FALSE(facts.has_ecc_errors_uncorrected());
  EXPECT_FALSE(facts.has_pcie_lanes());
  ASSERT_EQ(facts.processes_size(), 2);
  EXPECT_TRUE(facts.processes(0).ours());
  EXPECT_FALSE(facts.processes(1).ours());
  EXPECT_EQ(facts.links(0).kind(), "NV4");
  EXPECT_EQ(facts.numa_node(), "0");
  gpu.fault = "GPU is lost\n\xff";
  const v1::Gpu faulty = GpuFacts(gpu, {}, {});
  EXPECT_EQ(faulty.health(), v1::GPU_HEALTH_FAULTY);
  EXPECT_EQ(faulty.fault(), "GPU is lost\\n\\xff") << "protobuf takes proper UTF-8 only";
}

TEST(IsNews, IsWhatChangesAPlacement) {
  google::protobuf::RepeatedPtrField<v1::Gpu> told;
  told.Add()->set_bytes_total(24 * kGib);
  auto now = told;
  EXPECT_FALSE(IsNews(told, now));
  now[0].set_temperature_celsius(90);
  now[0].set_bytes_foreign(64 << 20);
  EXPECT_FALSE(IsNews(told, now)) << "the next report will do";
  now[0].set_bytes_foreign((64 << 20) + 1);
  EXPECT_TRUE(IsNews(told, now));
  EXPECT_TRUE(IsNews(now, told)) << "less is news too";
  now = told;
  now[0].set_health(v1::GPU_HEALTH_FAULTY);
  EXPECT_TRUE(IsNews(told, now));
}

}  // namespace
}  // namespace ovi
