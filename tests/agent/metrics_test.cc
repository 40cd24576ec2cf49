// The metrics that an agent serves.
#include "worker/agent/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/metrics/metrics_page.h"

namespace ovi {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

v1::NodeReport Report() {
  v1::NodeReport report;
  for (int i = 0; i < 2; ++i) {
    v1::Gpu& gpu = *report.add_gpus();
    gpu.set_index(i);
    gpu.set_name("RTX 3090");
    gpu.set_bytes_total(24);
    gpu.set_bytes_foreign(i);
    gpu.set_health(i == 0 ? v1::GPU_HEALTH_OK : v1::GPU_HEALTH_FAULTY);
  }
  report.mutable_gpus(0)->set_temperature_celsius(55);
  return report;
}

TEST(AgentMetrics, SayWhatHappens) {
  const auto metrics = AgentMetrics::Create("127.0.0.1:0");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  (*metrics)->SetGpus(Report());
  (*metrics)->SetGpus(Report());  // the same series again
  (*metrics)->SetGroups({.starting = 1, .running = 2});
  (*metrics)->CountStart(true);
  (*metrics)->CountStart(true);
  (*metrics)->CountStart(false);
  (*metrics)->ObserveStart(std::chrono::milliseconds(40));
  (*metrics)->SetConnected(true);
  (*metrics)->CountReconnect();
  const absl::StatusOr<std::string> page = ReadMetricsPage((*metrics)->port());
  ASSERT_TRUE(page.ok()) << page.status();
  const std::string& text = *page;
  EXPECT_THAT(text, HasSubstr("ovi_agent_build_info{version=\"" OVI_VERSION "\"} 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_gpu_memory_total_bytes{gpu=\"0\",name=\"RTX 3090\"} 24"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_gpu_memory_foreign_bytes{gpu=\"1\",name=\"RTX 3090\"} 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_gpu_healthy{gpu=\"1\",name=\"RTX 3090\"} 0"));
  EXPECT_THAT(text, AllOf(HasSubstr("ovi_agent_gpu_temperature_celsius{gpu=\"0\",name=\"RTX 3090\"} 55"),
                          Not(HasSubstr("ovi_agent_gpu_temperature_celsius{gpu=\"1\""))));
  EXPECT_THAT(text, HasSubstr("ovi_agent_groups{state=\"starting\"} 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_groups{state=\"stopping\"} 0"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_group_starts_total{result=\"launched\"} 2"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_group_starts_total{result=\"failed\"} 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_group_start_seconds_bucket{le=\"0.05\"} 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_coordinator_connected 1"));
  EXPECT_THAT(text, HasSubstr("ovi_agent_stream_reconnects_total 1"));
}

TEST(AgentMetrics, AreNotServedUnlessAsked) {
  const auto metrics = AgentMetrics::Create("");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ((*metrics)->port(), 0);
  (*metrics)->SetGpus(Report());
}

TEST(AgentMetrics, SayWhenTheirAddressIsTaken) {
  const auto first = AgentMetrics::Create("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*first)->port());
  const auto second = AgentMetrics::Create(address);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("metrics_address " + address));
}

}  // namespace
}  // namespace ovi
