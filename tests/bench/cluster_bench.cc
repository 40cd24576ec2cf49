// What the control plane costs, with real processes on this machine: durable submits, lists, watchers, and
// the start of groups. JSON out.
//
//   cluster_bench [--part=submit|watch|start] [--jobs=100000]
//
// Every ratio compares two figures of one run: disk and machine are shared and differ from hour to hour.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "tests/cluster/test_cluster.h"
#include "tests/metrics/metrics_page.h"

namespace ovi {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

// Makes `count` calls, `in_flight` at a time: `start` begins one and calls `done` when it is answered.
// Returns the seconds it took.
double CallMany(int count, int in_flight, const std::function<void(std::function<void()> done)>& start) {
  std::atomic<int> left{count};
  std::mutex mutex;
  std::condition_variable all_done;
  int answered = 0;
  std::function<void()> next = [&] {
    if (left-- <= 0) return;
    start([&] {
      next();
      const std::lock_guard lock(mutex);
      if (++answered == count) all_done.notify_one();
    });
  };
  const auto begin = Clock::now();
  for (int i = 0; i < in_flight; ++i) next();
  std::unique_lock lock(mutex);
  all_done.wait(lock, [&] { return answered == count; });
  return SecondsSince(begin);
}

// Submits `count` jobs; returns the seconds it took.
double SubmitMany(TestCluster& cluster, int count, int in_flight) {
  struct Call {
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    v1::SubmitJobResponse response;
  };
  return CallMany(count, in_flight, [&](std::function<void()> done) {
    const auto call = std::make_shared<Call>();
    *call->request.mutable_spec() = MiniJob();
    cluster.jobs().async()->SubmitJob(&call->context, &call->request, &call->response,
                                      [call, done = std::move(done)](const grpc::Status& status) {
                                        OVI_CHECK(status.ok());
                                        done();
                                      });
  });
}

// Submits `count` jobs in batches of `batch`; returns the seconds it took.
double SubmitBatches(TestCluster& cluster, int count, int batch, int in_flight) {
  struct Call {
    grpc::ClientContext context;
    v1::SubmitJobsResponse response;
  };
  v1::SubmitJobsRequest request;  // what all calls send: making it is no work of the coordinator's
  for (int i = 0; i < batch; ++i) *request.add_requests()->mutable_spec() = MiniJob();
  return CallMany(count / batch, in_flight, [&](std::function<void()> done) {
    const auto call = std::make_shared<Call>();
    cluster.jobs().async()->SubmitJobs(&call->context, &request, &call->response,
                                       [call, done = std::move(done)](const grpc::Status& status) {
                                         OVI_CHECK(status.ok());
                                         done();
                                       });
  });
}

// Seconds of one submit each.
std::vector<double> SubmitOneByOne(TestCluster& cluster, int count) {
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    cluster.Submit(MiniJob());
    seconds.push_back(SecondsSince(begin));
  }
  return seconds;
}

// Median seconds of an fsync after 4 KiB were written.
double FsyncSeconds(const std::string& path) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  OVI_CHECK(fd >= 0);
  const std::string block(4096, 'x');
  std::vector<double> seconds;
  for (int i = 0; i < 300; ++i) {
    OVI_CHECK(::write(fd, block.data(), block.size()) == 4096);
    const auto begin = Clock::now();
    OVI_CHECK(::fsync(fd) == 0);
    seconds.push_back(SecondsSince(begin));
  }
  ::close(fd);
  return Quantile(seconds, 0.5);
}

// SQLite alone, with rows like the journal's and synchronous FULL. It has worked before it is measured, as
// the coordinator's has: until a write-ahead log has been through its first checkpoint, every commit makes
// the file longer, which costs the file system another write.
class BareSqlite {
 public:
  explicit BareSqlite(const std::string& path) {
    OVI_CHECK(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
    Run("PRAGMA journal_mode=WAL");
    Run("PRAGMA synchronous=FULL");
    Run("CREATE TABLE events (seq INTEGER PRIMARY KEY, job INTEGER, kind INTEGER, payload BLOB)");
    Run("CREATE INDEX events_by_job ON events (job)");
    OVI_CHECK(sqlite3_prepare_v2(db_, "INSERT INTO events (job, kind, payload) VALUES (?, 1, ?)", -1,
                                 &insert_, nullptr) == SQLITE_OK);
    Rate(20'000, 64);
  }
  ~BareSqlite() {
    sqlite3_finalize(insert_);
    sqlite3_close(db_);
  }
  BareSqlite(const BareSqlite&) = delete;
  BareSqlite& operator=(const BareSqlite&) = delete;

  // Rows a second, `batch` to a transaction.
  double Rate(int rows, int batch) {
    const auto begin = Clock::now();
    for (int row = 0; row < rows;) {
      Run("BEGIN");
      for (int i = 0; i < batch && row < rows; ++i, ++row) Insert();
      Run("COMMIT");
    }
    return rows / SecondsSince(begin);
  }

 private:
  void Run(const char* sql) { OVI_CHECK(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK); }
  void Insert() {
    sqlite3_bind_int64(insert_, 1, ++last_job_);
    sqlite3_bind_blob(insert_, 2, payload_.data(), static_cast<int>(payload_.size()), SQLITE_STATIC);
    OVI_CHECK(sqlite3_step(insert_) == SQLITE_DONE);
    sqlite3_reset(insert_);
  }

  const std::string payload_ = MiniJob().SerializeAsString() + std::string(40, 'x');
  sqlite3* db_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
  std::int64_t last_job_ = 0;
};

// Of a series without labels.
double MetricOf(TestCluster& cluster, const std::string& series) {
  const absl::StatusOr<std::string> page = ReadMetricsPage(cluster.metrics_port());
  OVI_CHECK(page.ok());
  const std::size_t at = page->find(absl::StrCat("\n", series, " "));
  OVI_CHECK(at != std::string::npos);
  return std::stod(page->substr(at + series.size() + 2));
}

// Calls a second that gRPC alone carries, 64 in flight: the shortest there are, answered from memory.
double BareCallRate(TestCluster& cluster, int count) {
  struct Call {
    grpc::ClientContext context;
    v1::GetJobRequest request;
    v1::GetJobResponse response;
  };
  return count / CallMany(count, 64, [&](std::function<void()> done) {
           const auto call = std::make_shared<Call>();
           call->request.set_job_id("999999999");
           cluster.jobs().async()->GetJob(&call->context, &call->request, &call->response,
                                          [call, done = std::move(done)](const grpc::Status& status) {
                                            OVI_CHECK(status.error_code() == grpc::StatusCode::NOT_FOUND);
                                            done();
                                          });
         });
}

std::int64_t ResidentBytes(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

json ListAll(TestCluster& cluster) {
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  int jobs = 0;
  std::vector<double> pages;
  const auto begin = Clock::now();
  do {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    const auto page = Clock::now();
    OVI_CHECK(cluster.jobs().ListJobs(&context, request, &response).ok());
    pages.push_back(SecondsSince(page));
    jobs += response.jobs_size();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return {{"jobs", jobs},
          {"seconds", SecondsSince(begin)},
          {"page_of_1000_ms_median", Quantile(pages, 0.5) * 1e3}};
}

struct Batches {
  double commits = 0;
  double rows = 0;
};

Batches BatchesSoFar(TestCluster& cluster) {
  return {MetricOf(cluster, "ovi_journal_commit_changes_count"),
          MetricOf(cluster, "ovi_journal_commit_changes_sum")};
}

// What a submit is made of, each a second: the best of several rounds, in which everything is measured once
// in turn, so that all see the same moods of disk and machine.
struct SubmitRates {
  double submits = 0, calls = 0;
  double rows_per_commit = 0;  // of the last round
  double bare = 0, bare_64 = 0;
};

constexpr int kRound = 5'000;

// The same of jobs that come in batches of `batch`, and of a coordinator of their own: there are many.
class BatchedRates {
 public:
  BatchedRates(TestCluster& cluster, int batch) : cluster_(cluster), batch_(batch) {}

  void Round(BareSqlite& bare) {
    const int rows = kBatchedRound / batch_ * batch_;
    const Batches before = BatchesSoFar(cluster_);
    rate_ = std::max(rate_, rows / SubmitBatches(cluster_, rows, batch_, 64));
    const Batches after = BatchesSoFar(cluster_);
    rows_per_commit_ = (after.rows - before.rows) / (after.commits - before.commits);
    bare_ = std::max(bare_, bare.Rate(rows, static_cast<int>(std::lround(rows_per_commit_))));
    bare_64_ = std::max(bare_64_, bare.Rate(rows, 64));
  }

  json Figures() const {
    return {{"rows_per_second_64_in_flight", rate_},
            {"rows_per_commit_mean", rows_per_commit_},
            {"bare_sqlite_rows_per_second_same_batches", bare_},
            {"ratio_to_bare_sqlite_same_batches", rate_ / bare_},
            {"bare_sqlite_rows_per_second_batches_of_64", bare_64_},
            {"ratio_to_bare_sqlite_batches_of_64", rate_ / bare_64_}};
  }

 private:
  static constexpr int kBatchedRound = 32'000;

  TestCluster& cluster_;
  const int batch_;
  double rate_ = 0;
  double rows_per_commit_ = 0;  // of the last round
  double bare_ = 0, bare_64_ = 0;
};

SubmitRates MeasureRates(TestCluster& cluster, std::vector<BatchedRates>& batched, int rounds) {
  BareSqlite bare(cluster.folder() / "bare.db");
  SubmitRates rates;
  for (int i = 0; i < rounds; ++i) {
    const Batches before = BatchesSoFar(cluster);
    rates.submits = std::max(rates.submits, kRound / SubmitMany(cluster, kRound, 64));
    const Batches after = BatchesSoFar(cluster);
    rates.rows_per_commit = (after.rows - before.rows) / (after.commits - before.commits);
    rates.calls = std::max(rates.calls, BareCallRate(cluster, kRound));
    rates.bare =
        std::max(rates.bare, bare.Rate(kRound, static_cast<int>(std::lround(rates.rows_per_commit))));
    rates.bare_64 = std::max(rates.bare_64, bare.Rate(kRound, 64));
    for (BatchedRates& of_size : batched) of_size.Round(bare);
  }
  return rates;
}

// With all jobs kept, and of a coordinator that has few, in turn.
struct OldAndYoung {
  double old_rate = 0, young_rate = 0;
};

OldAndYoung CompareWithYoung(TestCluster& old_cluster, int rounds) {
  TestCluster young({.coordinator_sets = {"log_level=warning"}});
  young.StartCoordinator();
  SubmitMany(young, 1'000, 64);
  OldAndYoung rates;
  for (int i = 0; i < rounds; ++i) {
    rates.old_rate = std::max(rates.old_rate, kRound / SubmitMany(old_cluster, kRound, 64));
    rates.young_rate = std::max(rates.young_rate, kRound / SubmitMany(young, kRound, 64));
  }
  return rates;
}

json SubmitPart(int jobs) {
  constexpr int kRounds = 4;
  TestCluster cluster({.coordinator_sets = {"log_level=warning"}, .metrics = true});
  cluster.StartCoordinator();
  SubmitMany(cluster, 500, 64);  // warm
  TestCluster second(
      {.coordinator_sets = {"log_level=warning", "pending_jobs_max=1000000"}, .metrics = true});
  second.StartCoordinator();
  SubmitBatches(second, 20'000, 50, 64);  // until its write-ahead log has been through a checkpoint
  std::vector<BatchedRates> batched = {{second, 64}, {second, 250}};
  const double fsync = FsyncSeconds(cluster.folder() / "fsync");
  const std::vector<double> alone = SubmitOneByOne(cluster, 300);
  const SubmitRates rates = MeasureRates(cluster, batched, kRounds);
  const int so_far = 500 + 300 + kRounds * kRound;
  if (jobs > so_far) SubmitMany(cluster, jobs - so_far, 64);
  json listed = ListAll(cluster);
  const std::int64_t resident = ResidentBytes(cluster.coordinator_pid());
  const OldAndYoung late = CompareWithYoung(cluster, kRounds);
  const auto restart = Clock::now();
  cluster.KillCoordinator();
  cluster.StartCoordinator();
  return {{"submits_per_second_64_in_flight", rates.submits},
          {"rows_per_commit_mean", rates.rows_per_commit},
          {"bare_sqlite_rows_per_second_same_batches", rates.bare},
          {"ratio_to_bare_sqlite_same_batches", rates.submits / rates.bare},
          {"bare_sqlite_rows_per_second_batches_of_64", rates.bare_64},
          {"ratio_to_bare_sqlite_batches_of_64", rates.submits / rates.bare_64},
          {"bare_grpc_calls_per_second_64_in_flight", rates.calls},
          {"ratio_to_bare_grpc_calls", rates.submits / rates.calls},
          {"submit_ms_p50_1_in_flight", Quantile(alone, 0.5) * 1e3},
          {"submit_ms_p99_1_in_flight", Quantile(alone, 0.99) * 1e3},
          {"fsync_ms_median", fsync * 1e3},
          {"batches_of_64", batched[0].Figures()},
          {"batches_of_250", batched[1].Figures()},
          {"submits_per_second_with_all_jobs", late.old_rate},
          {"submits_per_second_with_few_jobs", late.young_rate},
          {"ratio_with_all_jobs", late.old_rate / late.young_rate},
          {"list", listed},
          {"resident_bytes_with_all_jobs", resident},
          {"restart_seconds_with_all_jobs", SecondsSince(restart)}};
}

// One pending job, many who watch it; how long until all have seen its end.
json WatchPart() {
  constexpr int kWatchers = 500;
  TestCluster cluster({.coordinator_sets = {"log_level=warning"}});
  cluster.StartCoordinator();
  const std::string id = cluster.Submit(MiniJob());
  std::atomic<int> first{0};
  std::atomic<int> last{0};
  std::vector<std::thread> watchers;
  for (int i = 0; i < kWatchers; ++i) {
    watchers.emplace_back([&] {
      grpc::ClientContext context;
      v1::WatchJobRequest request;
      request.set_job_id(id);
      const auto stream = cluster.jobs().WatchJob(&context, request);
      v1::WatchJobResponse response;
      if (stream->Read(&response)) ++first;
      while (stream->Read(&response)) {
      }
      if (response.job().state() == v1::JOB_STATE_CANCELLED) ++last;
    });
  }
  while (first < kWatchers) std::this_thread::yield();
  const auto begin = Clock::now();
  grpc::ClientContext context;
  v1::CancelJobRequest request;
  request.set_job_id(id);
  v1::CancelJobResponse response;
  OVI_CHECK(cluster.jobs().CancelJob(&context, request, &response).ok());
  const double answered = SecondsSince(begin);
  while (last < kWatchers) std::this_thread::yield();
  const double all = SecondsSince(begin);
  for (std::thread& watcher : watchers) watcher.join();
  return {{"watchers", kWatchers}, {"cancel_answered_ms", answered * 1e3}, {"all_told_ms", all * 1e3}};
}

// The settings with which mpirun starts fastest on one node; the agent uses the same.
constexpr const char* kFastMpirun =
    "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=vader,self "
    "OMPI_MCA_osc=sm OMPI_MCA_mtl=^ofi,psm,psm2 OMPI_MCA_plm=isolated OMPI_MCA_odls_base_sigkill_timeout=0 "
    "PMIX_MCA_gds=hash mpirun --oversubscribe --bind-to none";

// Milliseconds of a bare mpirun of an empty MPI program.
double BareMpirunMs(int ranks) {
  std::vector<double> ms;
  for (int i = 0; i < 7; ++i) {
    const std::string command =
        absl::StrCat(kFastMpirun, " -n ", ranks, " ", OVI_EMPTY_MPI, " >/dev/null 2>&1");
    const auto begin = Clock::now();
    OVI_CHECK(std::system(command.c_str()) == 0);
    ms.push_back(SecondsSince(begin) * 1e3);
  }
  return Quantile(ms, 0.5);
}

json StartPart() {
  json out;
  for (const int ranks : {1, 2}) {
    TestCluster cluster({.coordinator_sets = {"log_level=warning"}, .gpus = 2});
    cluster.StartCoordinator();
    cluster.StartAgent("box");
    cluster.AwaitNodes(1);
    v1::JobSpec spec = MiniJob(1);
    if (ranks > 1) {
      spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
      spec.set_gpu_count(ranks);
    }
    // From the call of submit to the group's first sign of work, as a client sees it.
    const auto start_ms = [&] {
      const auto begin = Clock::now();
      const std::string id = cluster.Submit(spec);
      cluster.WatchUntil(id, [](const v1::Job& job) { return job.state() >= v1::JOB_STATE_RUNNING; });
      const double ms = SecondsSince(begin) * 1e3;
      cluster.AwaitEnd(id);
      return ms;
    };
    const double cold = start_ms();
    std::vector<double> warm;
    for (int i = 0; i < 9; ++i) warm.push_back(start_ms());
    const double bare = BareMpirunMs(ranks);
    out[absl::StrCat(ranks, ranks == 1 ? "_rank" : "_ranks")] = {
        {"warm_start_ms_median", Quantile(warm, 0.5)},
        {"cold_start_ms", cold},
        {"bare_mpirun_ms_median", bare},
        {"cold_minus_bare_ms", cold - bare}};
  }
  return out;
}

int Main(int argc, char** argv) {
  std::string part;
  int jobs = 100'000;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--part=", 0) == 0) part = word.substr(7);
    if (word.rfind("--jobs=", 0) == 0) jobs = std::stoi(word.substr(7));
  }
  json out;
  if (part.empty() || part == "submit") out["submit"] = SubmitPart(jobs);
  if (part.empty() || part == "watch") out["watch"] = WatchPart();
  if (part.empty() || part == "start") out["start"] = StartPart();
  std::printf("%s\n", out.dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);  // the cluster's own checks report through it
  return ovi::Main(argc, argv);
}
