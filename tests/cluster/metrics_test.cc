// What Prometheus sees of a coordinator and an agent that have worked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/cluster/test_cluster.h"
#include "tests/metrics/metrics_page.h"

namespace ovi {
namespace {

using testing::HasSubstr;
using testing::Not;

void ExpectCleanPage(const std::string& page) {
  const absl::Status checked = CheckWithPromtool(page);
  if (absl::IsNotFound(checked)) GTEST_SKIP() << checked;
  EXPECT_TRUE(checked.ok()) << checked;
}

TEST(ClusterMetrics, TellWhatHappenedAndSatisfyPromtool) {
  TestCluster cluster({.coordinator_sets = {}, .metrics = true});
  const int agent_port = FreePort();
  cluster.StartCoordinator();
  cluster.StartAgent("box-1", {absl::StrCat("metrics_address=127.0.0.1:", agent_port)});
  cluster.AwaitNodes(1);
  v1::JobSpec spec = MiniJob(30);
  spec.set_text_prompt("a very secret prompt");
  ASSERT_EQ(cluster.AwaitEnd(cluster.Submit(spec)).state(), v1::JOB_STATE_COMPLETED);

  grpc::ClientContext context;
  v1::SubmitJobsRequest batch;  // without prompts
  for (int i = 0; i < 3; ++i) batch.add_requests();
  v1::SubmitJobsResponse response;
  ASSERT_FALSE(cluster.jobs().SubmitJobs(&context, batch, &response).ok());

  absl::StatusOr<std::string> page;
  // Gauges follow the state once a second.
  EXPECT_TRUE(Await(20, [&] {
    page = ReadMetricsPage(cluster.metrics_port());
    return page.ok() && page->find("\novi_jobs{state=\"COMPLETED\"} 1\n") != std::string::npos;
  })) << "no job is counted as COMPLETED";
  ASSERT_TRUE(page.ok()) << page.status();
  for (const char* line :
       {"\novi_job_attempts_total{end=\"COMPLETED\"} 1\n", "\novi_jobs_submitted_total 1\n",
        "\novi_jobs_refused_total 3\n", "\novi_nodes{state=\"ready\"} 1\n",
        "\novi_gpu_memory_total_bytes{gpu=\"0\",node=\"box-1\"} 67108864\n",
        "\novi_job_queue_wait_seconds_count 1\n", "\novi_job_run_seconds_count 1\n",
        "\novi_submit_seconds_count 2\n", "\novi_group_starts_total 1\n",
        "\novi_group_start_seconds_count 1\n"}) {
    EXPECT_THAT(*page, HasSubstr(line));
  }
  // Of quick steps only some are told.
  EXPECT_THAT(*page, Not(HasSubstr("\novi_denoising_step_seconds_count 0\n")));
  EXPECT_THAT(*page, Not(HasSubstr("secret"))) << "a prompt is nobody's label";
  ExpectCleanPage(*page);

  const absl::StatusOr<std::string> agent_page = ReadMetricsPage(agent_port);
  ASSERT_TRUE(agent_page.ok()) << agent_page.status();
  EXPECT_THAT(*agent_page, HasSubstr("\novi_agent_coordinator_connected 1\n"));
  EXPECT_THAT(*agent_page, HasSubstr("\novi_agent_group_starts_total{result=\"launched\"} 1\n"));
  ExpectCleanPage(*agent_page);
}

}  // namespace
}  // namespace ovi
