// What was acknowledged is there after kill -9, whenever it comes.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cluster/test_cluster.h"

namespace ovi {
namespace {

constexpr int kJobs = 1000;
constexpr int kClients = 16;

std::set<std::string> AllJobs(TestCluster& cluster) {
  std::set<std::string> ids;
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  do {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    const grpc::Status status = cluster.jobs().ListJobs(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::Job& job : response.jobs())
      EXPECT_TRUE(ids.insert(job.id()).second) << "listed twice: " << job.id();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return ids;
}

class DurableSubmit : public ::testing::TestWithParam<int> {};

TEST_P(DurableSubmit, EveryAcknowledgedJobSurvivesKill9) {
  SCOPED_TRACE(absl::StrCat("replay with --gtest_filter=*/", GetParam()));
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const int kill_after = std::uniform_int_distribution<int>(1, kJobs - 1)(random);
  TestCluster cluster;
  cluster.StartCoordinator();

  std::mutex mutex;
  std::set<std::string> acknowledged;
  std::atomic<int> next{0};
  std::atomic<bool> killed{false};
  // Clients go on with the same request ids after the crash until each of the thousand has an answer.
  const auto client = [&] {
    for (int i = next++; i < kJobs; i = next++) {
      v1::SubmitJobRequest request;
      *request.mutable_spec() = MiniJob();
      request.set_request_id(absl::StrCat("seed", GetParam(), "-", i));
      for (bool answered = false; !answered;) {
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
        context.set_wait_for_ready(true);
        v1::SubmitJobResponse response;
        const grpc::Status status = cluster.jobs().SubmitJob(&context, request, &response);
        answered = status.ok();
        if (!answered) {
          ASSERT_TRUE(killed.load() || status.error_code() == grpc::StatusCode::UNAVAILABLE)
              << status.error_message();
          continue;
        }
        const std::lock_guard lock(mutex);
        acknowledged.insert(response.job_id());
      }
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back(client);
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return static_cast<int>(acknowledged.size());
  };
  while (count() < kill_after) std::this_thread::yield();
  killed = true;
  cluster.KillCoordinator();
  std::set<std::string> before;
  {
    const std::lock_guard lock(mutex);
    before = acknowledged;
  }
  cluster.StartCoordinator();
  const std::set<std::string> after = AllJobs(cluster);
  for (const std::string& id : before) EXPECT_TRUE(after.contains(id)) << "acknowledged and lost: " << id;
  for (std::thread& thread : clients) thread.join();

  // A submit that was on disk but never answered was sent again under its request id, so there are exactly a
  // thousand.
  EXPECT_EQ(AllJobs(cluster), acknowledged);
  EXPECT_EQ(acknowledged.size(), static_cast<std::size_t>(kJobs));
}

// Of the batch that a crash cuts off, all jobs are there or none.
TEST_P(DurableSubmit, ABatchSurvivesKill9WholeOrNotAtAll) {
  constexpr int kBatchJobs = 100;
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const int kill_after = std::uniform_int_distribution<int>(1, 60)(random);
  TestCluster cluster;
  cluster.StartCoordinator();

  std::atomic<int> next{0};
  std::atomic<int> answered{0};
  std::mutex mutex;
  std::map<std::string, bool> acknowledged;  // by the batch's name
  const auto client = [&] {
    for (;;) {
      const std::string name = absl::StrCat("batch-", next++);
      v1::SubmitJobsRequest batch;
      for (int i = 0; i < kBatchJobs; ++i) {
        *batch.add_requests()->mutable_spec() = MiniJob();
        batch.mutable_requests(i)->mutable_spec()->set_user(name);
      }
      grpc::ClientContext context;
      v1::SubmitJobsResponse response;
      const bool ok = cluster.jobs().SubmitJobs(&context, batch, &response).ok();
      const std::lock_guard lock(mutex);
      acknowledged[name] = ok;
      if (!ok) return;
      ++answered;
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back(client);
  while (answered < kill_after) std::this_thread::yield();
  cluster.KillCoordinator();
  for (std::thread& thread : clients) thread.join();

  cluster.StartCoordinator();
  for (const auto& [name, ok] : acknowledged) {
    v1::ListJobsRequest request;
    request.set_user(name);
    request.set_page_size(1000);
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    ASSERT_TRUE(cluster.jobs().ListJobs(&context, request, &response).ok());
    EXPECT_TRUE(response.jobs_size() == kBatchJobs || (!ok && response.jobs_size() == 0))
        << name << (ok ? ", acknowledged, has " : ", not acknowledged, has ") << response.jobs_size();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, DurableSubmit, ::testing::Range(1, 21));

}  // namespace
}  // namespace ovi
