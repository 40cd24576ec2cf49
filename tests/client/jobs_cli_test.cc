// ovictl status, list, logs, cancel, fetch, plan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/small_file.h"
#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

struct JobsTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  std::string Add(v1::JobState state, const std::string& user = "ann") {
    v1::Job job;
    job.set_state(state);
    job.mutable_spec()->set_user(user);
    job.mutable_spec()->set_text_prompt("a cat");
    return cluster.AddJob(job);
  }
  std::vector<std::string> Files() const { return home.folder().Files(); }
};

TEST_F(JobsTest, ListsTheNewestFirstAndFilters) {
  Add(v1::JOB_STATE_RUNNING);
  Add(v1::JOB_STATE_FAILED);
  Add(v1::JOB_STATE_RUNNING, "bob");
  EXPECT_EQ(home.Run({"list", "-q"}).out, "3\n2\n1\n");
  EXPECT_EQ(home.Run({"list", "-q", "--state", "running"}).out, "3\n1\n");
  EXPECT_EQ(home.Run({"list", "-q", "--state", "running", "--state", "FAILED", "--user", "ann"}).out,
            "2\n1\n");
  EXPECT_EQ(home.Run({"list", "-q", "--state", "completed"}).out, "");
  const OvictlRun table = home.Run({"list"});
  EXPECT_THAT(LinesOf(table.out), SizeIs(4));
  EXPECT_THAT(table.out, StartsWith("JOB  STATE    USER  PROMPT OR REASON\n3    RUNNING  bob   a cat\n"));
}

TEST_F(JobsTest, ListsPagesUpToTheLimit) {
  for (int i = 0; i < 2500; ++i) Add(v1::JOB_STATE_COMPLETED);
  const struct {
    std::vector<std::string> args;
    std::size_t count;
    std::vector<int> pages;
    std::string note;
  } rows[] = {
      {{"list"}, 50, {50}, "ovictl: these are the newest 50; --limit or --all show more\n"},
      {{"list", "--limit", "1200"},
       1200,
       {1000, 200},
       "ovictl: these are the newest 1200; --limit or --all show more\n"},
      {{"list", "--limit", "2500"}, 2500, {1000, 1000, 500}, ""},
      {{"list", "--all"}, 2500, {1000, 1000, 1000}, ""},
  };
  std::size_t calls_before = 0;
  for (const auto& row : rows) {
    std::vector<std::string> args = row.args;
    args.emplace_back("--json");
    const OvictlRun run = home.Run(args);
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.err, row.note);
    const std::vector<std::string> lines = LinesOf(run.out);
    ASSERT_EQ(lines.size(), row.count);
    EXPECT_EQ(nlohmann::json::parse(lines.front())["id"], "2500");
    EXPECT_EQ(nlohmann::json::parse(lines.back())["id"], std::to_string(2501 - row.count));
    std::vector<int> pages;
    for (std::size_t i = calls_before; i < cluster.lists().size(); ++i)
      pages.push_back(cluster.lists()[i].page_size());
    EXPECT_EQ(pages, row.pages);
    calls_before = cluster.lists().size();
  }
}

TEST_F(JobsTest, ListsJobsWithTheLongestPrompts) {
  v1::Job job;
  job.mutable_spec()->set_text_prompt(std::string(64 * 1024, 'x'));
  for (int i = 0; i < 100; ++i) cluster.AddJob(job);  // 6.4 MB: more than gRPC takes unless it is told to
  const OvictlRun run = home.Run({"list", "--all"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  ASSERT_THAT(LinesOf(run.out), SizeIs(101));
  for (const std::string& line : LinesOf(run.out)) EXPECT_LE(line.size(), 120u) << "prompts are cut";
}

TEST_F(JobsTest, TellsTheStatusOfJobs) {
  const std::string a = Add(v1::JOB_STATE_RUNNING);
  const std::string b = Add(v1::JOB_STATE_PENDING);
  cluster.Update(a, [](v1::Job& job) { job.set_submitted_at_ms(1'763'920'805'000); });
  EXPECT_EQ(
      home.Run({"status", a, b}).out,
      "job        1\nstate      RUNNING\nuser       ann\nprompt     a cat\nsubmitted  2025-11-23 18:00:05\n"
      "\n"
      "job        2\nstate      PENDING\nuser       ann\nprompt     a cat\n");
  const OvictlRun json = home.Run({"status", a, b, "--json"});
  ASSERT_THAT(LinesOf(json.out), SizeIs(2));
  EXPECT_EQ(nlohmann::json::parse(LinesOf(json.out)[0])["submitted_at_ms"], "1763920805000");
  const OvictlRun unknown = home.Run({"status", "99", "--json"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_EQ(unknown.err, "ovictl: no job 99\n");
  EXPECT_EQ(nlohmann::json::parse(unknown.out)["error"]["code"], "NOT_FOUND");
}

TEST_F(JobsTest, TellsHowAttemptsEndedAndWhatTheRanksPrinted) {
  const std::string id = Add(v1::JOB_STATE_PENDING);
  EXPECT_EQ(home.Run({"logs", id}).out, "job 1 PENDING\n");
  const std::string message(300, 'x');
  cluster.Update(id, [&](v1::Job& job) {
    for (const char* node : {"gpu-a", "gpu-b"}) {
      v1::Attempt* attempt = job.add_attempts();
      attempt->set_number(job.attempts_size());
      attempt->set_node(node);
      attempt->set_group_id(absl::StrCat("g1-", job.attempts_size()));
      attempt->set_started_at_ms(1000);
      attempt->set_ended_at_ms(8000);
      attempt->set_end(v1::ATTEMPT_END_WORKER_CRASH);
      attempt->set_message(message);
    }
  });
  cluster.SetOutput("rank 0: began\nrank 1: \x1b[2J\n");
  const OvictlRun run = home.Run({"logs", id});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("      1  gpu-a  g1-1   0:07  WORKER_CRASH  " + message + "\n"),
                    HasSubstr("attempt 2: what the ranks of group g1-2 on node gpu-b printed last\n"),
                    HasSubstr("  rank 0: began\n  rank 1: ")))
      << "messages are not cut";
  EXPECT_THAT(run.out, Not(HasSubstr("\x1b"))) << "nothing that a rank prints can play with the terminal";
  EXPECT_THAT(home.Run({"logs", id, "--attempt", "1"}).out,
              HasSubstr("attempt 1: what the ranks of group g1-1"));

  const nlohmann::json json = nlohmann::json::parse(home.Run({"logs", id, "--json"}).out);
  EXPECT_EQ(json["attempt"]["end"], "ATTEMPT_END_WORKER_CRASH");
  EXPECT_THAT(json["text"].get<std::string>(), HasSubstr("rank 0: began\n"));
}

TEST_F(JobsTest, ShowsTheAttemptsWhereTheirOutputCannotBeHad) {
  const std::string id = Add(v1::JOB_STATE_RUNNING);
  cluster.Update(id, [&](v1::Job& job) {
    job.add_attempts()->set_number(1);
    job.mutable_attempts(0)->set_node("gpu-a");
  });
  cluster.SetOutput("");
  EXPECT_THAT(home.Run({"logs", id}).out, HasSubstr("attempt 1: its ranks have printed nothing\n"));
  cluster.FailNext("GetAttemptLog",
                   {{grpc::StatusCode::NOT_FOUND, "node gpu-a keeps no output of this group"}});
  const OvictlRun run = home.Run({"logs", id});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.out, HasSubstr("gpu-a"));
  EXPECT_EQ(run.err, "ovictl: node gpu-a keeps no output of this group\n");
}

TEST_F(JobsTest, CancelsJobs) {
  const std::string a = Add(v1::JOB_STATE_RUNNING);
  const std::string b = Add(v1::JOB_STATE_COMPLETED);
  const OvictlRun run = home.Run({"cancel", a, b});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out, "1 CANCELLED\n2 COMPLETED\n");
  EXPECT_EQ(cluster.job(a).state(), v1::JOB_STATE_CANCELLED);
  const std::string c = Add(v1::JOB_STATE_PENDING);
  const OvictlRun mixed = home.Run({"cancel", "99", c});
  EXPECT_EQ(mixed.exit_code, 1);
  EXPECT_EQ(mixed.out, "3 CANCELLED\n") << "an unknown job does not save the others";
  EXPECT_EQ(mixed.err, "ovictl: no job 99\n");
}

TEST_F(JobsTest, FetchesResultsWhole) {
  const std::string id = Add(v1::JOB_STATE_COMPLETED);
  const std::string video = std::string(300'000, 'v') + "end";
  cluster.AddArtifact(id, v1::ARTIFACT_KIND_VIDEO, "clip.mp4", video);
  cluster.AddArtifact(id, v1::ARTIFACT_KIND_POSTER, "clip.png", "poster");
  cluster.AddArtifact(id, v1::ARTIFACT_KIND_CONTACT_SHEET, "sheet.png", "");
  const std::string out = home.folder() / "a/b";
  const OvictlRun all = home.Run({"fetch", id, "--out", out});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(all.out, out + "/1_clip.mp4\n" + out + "/1_clip.png\n" + out + "/1_sheet.png\n");
  EXPECT_EQ(*ReadSmallFile(out + "/1_clip.mp4", 1 << 20), video);
  EXPECT_EQ(*ReadSmallFile(out + "/1_sheet.png", 1 << 20), "");
  EXPECT_THAT(Files(), ElementsAre("a/b/1_clip.mp4", "a/b/1_clip.png", "a/b/1_sheet.png"));

  const int calls = cluster.calls("DownloadArtifact");
  const nlohmann::json again =
      nlohmann::json::parse(home.Run({"fetch", id, "--out", out, "--kind", "poster", "--json"}).out);
  EXPECT_EQ(again["path"], out + "/1_clip.png");
  EXPECT_EQ(again["was_there"], true);
  EXPECT_EQ(cluster.calls("DownloadArtifact"), calls) << "what is there is not sent again";
  home.folder().Write("a/b/1_clip.png", "POSTER");
  ASSERT_EQ(home.Run({"fetch", id, "--out", out, "--kind", "poster"}).exit_code, 0);
  EXPECT_EQ(*ReadSmallFile(out + "/1_clip.png", 100), "poster") << "other bytes are replaced";
}

TEST_F(JobsTest, KeepsNothingOfADamagedDownload) {
  const std::string id = Add(v1::JOB_STATE_COMPLETED);
  cluster.AddArtifact(id, v1::ARTIFACT_KIND_VIDEO, "clip.mp4", std::string(100'000, 'v'));
  const std::string out = home.folder() / "out";
  const auto expect_refused = [&](const std::string& error) {
    const OvictlRun run = home.Run({"fetch", id, "--out", out});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.err, StartsWith("ovictl: job 1: clip.mp4" + error));
    EXPECT_THAT(LinesOf(run.err), SizeIs(1));
    EXPECT_THAT(run.out, IsEmpty());
    EXPECT_THAT(Files(), IsEmpty());
  };
  cluster.FailNext("DownloadArtifact", {{grpc::StatusCode::INTERNAL, "disk error"}});
  expect_refused(": disk error");
  cluster.CutDownloads();
  expect_refused(" arrived damaged and was thrown away: ");
  cluster.CorruptDownloads();
  expect_refused(" arrived damaged and was thrown away: ");
}

TEST_F(JobsTest, FetchesOnlyWhatIsThereAndIntoTheFolderOnly) {
  const std::string running = Add(v1::JOB_STATE_RUNNING);
  const std::string failed = Add(v1::JOB_STATE_FAILED);
  const std::string evil = Add(v1::JOB_STATE_COMPLETED);
  cluster.AddArtifact(evil, v1::ARTIFACT_KIND_VIDEO, "../../clip.mp4", "x");
  const struct {
    std::vector<std::string> args;
    int exit_code;
    const char* error;
  } rows[] = {
      {{running}, 1, "ovictl: job 1 is RUNNING; ovictl wait waits for it\n"},
      {{failed}, 1, "ovictl: job 2 is FAILED: it has no result\n"},
      {{evil}, 1, "ovictl: job 3: the file name \"../../clip.mp4\" is no plain name\n"},
      {{evil, "--kind", "poster"}, 1, "ovictl: job 3 has no result of this kind\n"},
      {{evil, "--kind", "audio"}, 2, "ovictl: --kind: must be video, poster or sheet, got \"audio\"\n"},
      {{"99"}, 1, "ovictl: no job 99\n"},
      {{"99", failed}, 1, "ovictl: no job 99\novictl: job 2 is FAILED: it has no result\n"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> args = {"fetch", "--out", home.folder() / "out"};
    args.insert(args.end(), row.args.begin(), row.args.end());
    const OvictlRun run = home.Run(args);
    EXPECT_EQ(run.exit_code, row.exit_code) << row.error;
    EXPECT_EQ(run.err, row.error);
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(JobsTest, PlansTheFirstOfTheJobs) {
  v1::PlanJobResponse plan;
  v1::PlanOption* option = plan.add_options();
  option->set_world_size(2);
  option->set_bytes_per_rank(std::int64_t{6} << 30);
  option->set_fits_ever(true);
  option->set_reason("node gpu-a has room for it, once job 7 has ended");
  plan.add_warnings("fp8 is not there yet");
  cluster.SetPlan(plan);
  const std::string yaml = home.folder().Write("job.yaml", "text_prompt: a cat\neach_example_n_times: 3\n");
  const OvictlRun run = home.Run({"plan", "--config", yaml, "--set", "gpu_allocation=multi_2"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.out,
            "GPUS  MEMORY/GPU  FITS NOW  FITS EVER  REASON\n"
            "   2     6.0 GiB  no        yes        node gpu-a has room for it, once job 7 has ended\n");
  EXPECT_EQ(run.err, "ovictl: warning: fp8 is not there yet\n");
  ASSERT_THAT(cluster.planned(), SizeIs(1));
  EXPECT_EQ(cluster.planned()[0].gpu_count(), 2);
  EXPECT_EQ(cluster.job_count(), 0u);
  const OvictlRun json = home.Run({"plan", "a cat", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out)["options"][0]["bytes_per_rank"], "6442450944");

  plan.mutable_options(0)->set_fits_ever(false);
  cluster.SetPlan(plan);
  const OvictlRun never = home.Run({"plan", "a cat"});
  EXPECT_EQ(never.exit_code, 1);
  EXPECT_THAT(never.err, HasSubstr("ovictl: no node that is known could ever run this job\n"));
}

}  // namespace
}  // namespace ovi::client
