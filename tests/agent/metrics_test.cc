// The metrics that an agent serves.
#include "worker/agent/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string Get(int port) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(::write(fd.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t count; (count = ::read(fd.get(), buffer, sizeof(buffer))) > 0;)
    answer.append(buffer, static_cast<std::size_t>(count));
  const std::size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

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
  const std::string text = Get((*metrics)->port());
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

TEST(AgentMetrics, SatisfyPromtool) {
  if (!FindProgram("promtool").ok()) GTEST_SKIP() << "promtool is not installed (package prometheus)";
  const auto metrics = AgentMetrics::Create("127.0.0.1:0");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  (*metrics)->SetGpus(Report());
  const TempFolder temp;
  const std::string file = temp.Write("metrics", Get((*metrics)->port()));
  const auto run = RunAndCapture({"/bin/sh", "-c", absl::StrCat("promtool check metrics <", file)});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->exit.ok()) << run->stdout_text << run->stderr_tail;
  EXPECT_EQ(run->stdout_text + run->stderr_tail, "");
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
