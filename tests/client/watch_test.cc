// ovictl watch and wait: what they show, what they survive, how they end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

void SetStep(v1::Job& job, int step) {
  job.set_state(v1::JOB_STATE_RUNNING);
  job.mutable_progress()->set_stage(v1::STAGE_DENOISE);
  job.mutable_progress()->set_step(step);
  job.mutable_progress()->set_steps(12);
  job.mutable_progress()->set_seconds_per_step(0.5);
}

struct WatchTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  std::string Add(v1::JobState state) {
    v1::Job job;
    job.set_state(state);
    job.set_submitted_at_ms(1000);
    job.set_started_at_ms(2000);
    return cluster.AddJob(job);
  }
  std::string AddRunning() {
    v1::Job job;
    SetStep(job, 1);
    job.set_started_at_ms(2000);
    v1::Attempt* attempt = job.add_attempts();
    attempt->set_number(1);
    attempt->set_node("gpu-a");
    attempt->add_gpu_indices(0);
    return cluster.AddJob(job);
  }
  void Step(const std::string& id, int step) {
    cluster.Update(id, [step](v1::Job& job) { SetStep(job, step); });
  }
  void End(const std::string& id, v1::JobState state) {
    cluster.Update(id, [state](v1::Job& job) {
      job.set_state(state);
      job.set_finished_at_ms(44'000);
    });
  }
};

TEST_F(WatchTest, WritesALineAChangeIntoAPipe) {
  const std::string id = AddRunning();
  const auto watch = home.Start({"watch", id});
  EXPECT_EQ(ReadUntil(watch->stdout_fd(), "\n"),
            "1 RUNNING  denoise 1/12  0.50 s/step  ETA 0:06  on gpu-a GPU 0, attempt 1\n");
  Step(id, 2);
  EXPECT_EQ(ReadUntil(watch->stdout_fd(), "\n"),
            "1 RUNNING  denoise 2/12  0.50 s/step  ETA 0:05  on gpu-a GPU 0, attempt 1\n");
  End(id, v1::JOB_STATE_COMPLETED);
  EXPECT_EQ(ReadUntil(watch->stdout_fd(), "\n"), "1 COMPLETED  in 0:42\n");
  EXPECT_EQ(watch->Wait().code, 0);
  EXPECT_THAT(watch->stderr_tail(), IsEmpty());
}

TEST_F(WatchTest, WritesJsonLines) {
  const std::string id = AddRunning();
  const auto watch = home.Start({"--json", "watch", id});
  const nlohmann::json first = nlohmann::json::parse(ReadUntil(watch->stdout_fd(), "\n"), nullptr, false);
  ASSERT_FALSE(first.is_discarded());
  EXPECT_EQ(first["id"], "1");
  EXPECT_EQ(first["state"], "JOB_STATE_RUNNING");
  EXPECT_EQ(first["progress"]["seconds_per_step"], 0.5);
  EXPECT_EQ(first["attempts"][0]["ended_at_ms"], "0") << "fields at their default are there too";
  End(id, v1::JOB_STATE_COMPLETED);
  const nlohmann::json last = nlohmann::json::parse(ReadUntil(watch->stdout_fd(), "\n"), nullptr, false);
  EXPECT_EQ(last["state"], "JOB_STATE_COMPLETED");
  EXPECT_EQ(watch->Wait().code, 0);
}

TEST_F(WatchTest, GoesOnWhenTheCoordinatorComesBack) {
  const std::string a = AddRunning();
  const std::string b = Add(v1::JOB_STATE_PENDING);
  const auto watch = home.Start({"watch", a, b, "--json"});
  ReadUntil(watch->stdout_fd(), "\"step\":1");
  Step(a, 5);
  ReadUntil(watch->stdout_fd(), "\"step\":5");
  cluster.Stop();
  Step(a, 9);
  cluster.Start();
  EXPECT_THAT(ReadUntil(watch->stdout_fd(), "\"step\":9"), HasSubstr("\"step\":9"));
  End(a, v1::JOB_STATE_COMPLETED);
  End(b, v1::JOB_STATE_COMPLETED);
  EXPECT_EQ(watch->Wait().code, 0);
  EXPECT_EQ(watch->stderr_tail(), "ovictl: the connection to coordinator " + cluster.address() +
                                      " was lost; trying again\novictl: connected again\n");
}

TEST_F(WatchTest, GoesOnWhenTheStreamEndsEarly) {
  const std::string id = AddRunning();
  cluster.FailNext("WatchJob",
                   {{grpc::StatusCode::UNAVAILABLE, "replaying"}, {grpc::StatusCode::CANCELLED, "bye"}});
  const auto watch = home.Start({"watch", id});
  cluster.OnCall("WatchJob", [&] {
    if (cluster.calls("WatchJob") == 3) End(id, v1::JOB_STATE_COMPLETED);
  });
  EXPECT_EQ(watch->Wait().code, 0);
  EXPECT_EQ(cluster.calls("WatchJob"), 3);
}

TEST_F(WatchTest, GivesUpWhenTheCallIsRefused) {
  const std::string id = AddRunning();
  cluster.FailNext("WatchJob", {{grpc::StatusCode::PERMISSION_DENIED, "not your job"}});
  const OvictlRun run = home.Run({"watch", id});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err, "ovictl: not your job\n");
}

TEST_F(WatchTest, DrawsOverItselfOnATerminalOnly) {
  const std::string a = AddRunning();
  const std::string b = Add(v1::JOB_STATE_PENDING);
  std::string command = "stty cols 70 rows 10;";
  for (const std::string& word : home.Argv({"watch", a, b})) command += " '" + word + "'";
  auto script =
      Subprocess::Start({"script", "-qec", command, "/dev/null"}, {.stdout_stream = StandardStream::kPipe});
  if (absl::IsNotFound(script.status())) GTEST_SKIP() << "no pseudo-terminal: " << script.status();
  ASSERT_TRUE(script.ok()) << script.status();
  const int fd = (*script)->stdout_fd();
  const std::string begin = ReadUntil(fd, "2 jobs: 1 PENDING, 1 RUNNING");
  EXPECT_THAT(
      begin,
      HasSubstr("1  \x1b[36mRUNNING\x1b[0m      denoise [#...............] 1/12  0.50 s/step  ETA 0:06\r\n"
                "2  PENDING      \r\n"));
  Step(a, 12);
  EXPECT_THAT(ReadUntil(fd, "12/12"), HasSubstr("\x1b[3A\r\x1b[J1  \x1b[36mRUNNING")) << "three lines up";
  End(a, v1::JOB_STATE_COMPLETED);
  End(b, v1::JOB_STATE_CANCELLED);
  const std::string end = ReadUntil(fd, "no such text, so to the end");
  EXPECT_THAT(end, HasSubstr("2 jobs: 1 COMPLETED, 1 CANCELLED\r\n"));
  EXPECT_EQ((*script)->Wait().code, 1);
}

TEST_F(WatchTest, UsesNoColoursWhereNoneAreWanted) {
  const std::string id = Add(v1::JOB_STATE_COMPLETED);
  for (const char* variable : {"NO_COLOR", "TERM"}) {
    OvictlHome plain(cluster.address());
    plain.Set(variable, variable == std::string("TERM") ? "dumb" : "1");
    std::string command;
    for (const std::string& word : plain.Argv({"list"})) command += " '" + word + "'";
    const absl::StatusOr<CapturedRun> run = RunAndCapture({"script", "-qec", command, "/dev/null"});
    if (absl::IsNotFound(run.status())) GTEST_SKIP() << "no pseudo-terminal: " << run.status();
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_THAT(run->stdout_text, HasSubstr("COMPLETED"));
    EXPECT_THAT(run->stdout_text, Not(HasSubstr("\x1b"))) << variable;
  }
}

TEST_F(WatchTest, LeavesJobsRunningWhenInterrupted) {
  const std::string a = AddRunning();
  const std::string b = Add(v1::JOB_STATE_COMPLETED);
  const std::string c = Add(v1::JOB_STATE_PENDING);
  const struct {
    std::vector<std::string> args;
    int signal;
    std::string error;
  } rows[] = {
      {{"watch", a}, SIGINT, "ovictl: interrupted; job 1 goes on (ovictl watch 1)\n"},
      {{"watch", a, b, c}, SIGTERM, "ovictl: interrupted; 2 jobs go on (ovictl watch 1 3)\n"},
      {{"wait", b, a}, SIGINT, "ovictl: interrupted; job 1 goes on (ovictl watch 1)\n"},
  };
  for (const auto& row : rows) {
    const auto process = home.Start(row.args);
    // Whatever it shows first, it follows then.
    ASSERT_NE(ReadUntil(process->stdout_fd(), "\n"), "");
    process->Kill(row.signal);
    EXPECT_EQ(process->Wait().code, 130);
    EXPECT_EQ(process->stderr_tail(), row.error);
  }
  EXPECT_EQ(cluster.calls("CancelJob"), 0);
  EXPECT_EQ(cluster.job(a).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(WatchTest, LeavesSubmittedJobsRunningWhenInterrupted) {
  const auto submit = home.Start({"submit", "a cat", "--watch"});
  ReadUntil(submit->stdout_fd(), "1 PENDING\n");
  submit->Kill(SIGINT);
  EXPECT_EQ(submit->Wait().code, 130);
  EXPECT_EQ(submit->stderr_tail(), "ovictl: interrupted; job 1 goes on (ovictl watch 1)\n");
  EXPECT_EQ(cluster.job("1").state(), v1::JOB_STATE_PENDING);
}

TEST_F(WatchTest, WaitsForTheEndOfAll) {
  const std::string a = AddRunning();
  const std::string b = Add(v1::JOB_STATE_COMPLETED);
  const auto wait = home.Start({"wait", a, b, a});
  EXPECT_EQ(ReadUntil(wait->stdout_fd(), "\n"), "2 COMPLETED\n");
  Step(a, 7);
  End(a, v1::JOB_STATE_COMPLETED);
  EXPECT_EQ(ReadUntil(wait->stdout_fd(), "no such text"), "1 COMPLETED  in 0:42\n")
      << "no line for steps, none twice";
  EXPECT_EQ(wait->Wait().code, 0);
}

TEST_F(WatchTest, TellsByItsExitCodeHowJobsEnded) {
  const std::string good = Add(v1::JOB_STATE_COMPLETED);
  const std::string bad = Add(v1::JOB_STATE_FAILED);
  const std::string cancelled = Add(v1::JOB_STATE_CANCELLED);
  cluster.Update(bad, [](v1::Job& job) {
    job.set_last_end(v1::ATTEMPT_END_OUT_OF_MEMORY);
    job.set_error("no rung left");
  });
  for (const char* command : {"wait", "watch"}) {
    EXPECT_EQ(home.Run({command, good}).exit_code, 0);
    const OvictlRun mixed = home.Run({command, good, bad});
    EXPECT_EQ(mixed.exit_code, 1);
    EXPECT_EQ(mixed.err, "ovictl: job 2 FAILED  OUT_OF_MEMORY: no rung left\n");
    EXPECT_EQ(home.Run({command, cancelled}).exit_code, 1);
    const OvictlRun unknown = home.Run({command, good, "99"});
    EXPECT_EQ(unknown.exit_code, 1);
    EXPECT_EQ(unknown.err, "ovictl: no job 99\n");
  }
}

TEST_F(WatchTest, FollowsHundredsOfJobs) {
  std::vector<std::string> args = {"wait"};
  for (int i = 0; i < 300; ++i) args.push_back(Add(v1::JOB_STATE_RUNNING));
  const auto wait = home.Start(args);
  std::vector<std::string> ids(args.begin() + 1, args.end());
  for (const std::string& id : ids) End(id, v1::JOB_STATE_COMPLETED);
  EXPECT_THAT(LinesOf(ReadUntil(wait->stdout_fd(), "no such text")), SizeIs(300));
  EXPECT_EQ(wait->Wait().code, 0);
}

}  // namespace
}  // namespace ovi::client
