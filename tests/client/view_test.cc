// Tables, bars and lines, to the letter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "base/format.h"
#include "client/ovictl/job_view.h"
#include "client/ovictl/node_view.h"
#include "client/ovictl/table.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ResultOf;
using testing::StartsWith;

constexpr std::int64_t kNow = 1'763'920'805'000;  // 2025-11-23 18:00:05 UTC
const Screen kPipe = {};
const Screen kTerminal80 = {.terminal = true, .colours = false, .columns = 80, .rows = 24};

v1::Job PendingJob(const std::string& id) {
  v1::Job job;
  job.set_id(id);
  job.set_state(v1::JOB_STATE_PENDING);
  job.set_pending_reason("waits for 2 GPUs with 8.0 GiB free");
  job.set_submitted_at_ms(kNow - 65'000);
  job.mutable_spec()->set_text_prompt("a cat");
  return job;
}

v1::Job RunningJob(const std::string& id) {
  v1::Job job = PendingJob(id);
  job.set_state(v1::JOB_STATE_RUNNING);
  job.clear_pending_reason();
  job.mutable_spec()->set_user("ann");
  job.set_started_at_ms(kNow - 60'000);
  job.mutable_progress()->set_stage(v1::STAGE_DENOISE);
  job.mutable_progress()->set_step(6);
  job.mutable_progress()->set_steps(12);
  job.mutable_progress()->set_seconds_per_step(2.5);
  v1::Attempt* first = job.add_attempts();
  first->set_number(1);
  first->set_node("gpu-a");
  first->add_gpu_indices(0);
  first->set_group_id("g1-1");
  first->set_started_at_ms(kNow - 60'000);
  first->set_ended_at_ms(kNow - 30'000);
  first->set_end(v1::ATTEMPT_END_OUT_OF_MEMORY);
  first->set_message("denoise: bytes_needed=21474836480");
  first->add_memory()->set_device_bytes_peak(std::int64_t{8} << 30);
  v1::Attempt* second = job.add_attempts();
  second->set_number(2);
  second->set_node("gpu-b");
  second->add_gpu_indices(0);
  second->add_gpu_indices(1);
  second->set_group_id("g1-2");
  second->set_warm(true);
  second->set_started_at_ms(kNow - 20'000);
  return job;
}

v1::Job EndedJob(const std::string& id, v1::JobState state) {
  v1::Job job = RunningJob(id);
  job.set_state(state);
  job.set_finished_at_ms(kNow - 18'000);
  job.mutable_attempts(1)->set_ended_at_ms(kNow - 18'000);
  return job;
}

TEST(Table, AlignsCutsAndLeavesOut) {
  const std::vector<Column> columns = {{"ID"}, {"N", Align::kRight}, {"EMPTY"}, {"TEXT"}};
  const std::vector<Row> rows = {{"1", "5", "", "short"},
                                 {"long-id", "1234", "", "a text that is far too long"}};
  EXPECT_EQ(RenderTable(columns, rows, {.columns = 32}),
            "ID          N  TEXT\n"
            "1           5  short\n"
            "long-id  1234  a text that is...\n");
  EXPECT_EQ(RenderTable(columns, rows, {.columns = 10}),
            "ID          N  TEXT\n"
            "1           5  short\n"
            "long-id  1234  a text th...\n")
      << "twelve columns are always left";
  EXPECT_EQ(RenderTable(columns, {}, kPipe), "ID  N  EMPTY  TEXT\n");
}

TEST(Table, CountsColumnsNotBytes) {
  EXPECT_EQ(RenderTable({{"A"}, {"B"}}, {{"\xe7\x8c\xab", "x"}, {"abc", "y"}}, kPipe),
            "A    B\n"
            "\xe7\x8c\xab   x\n"
            "abc  y\n");
}

TEST(Table, KeepsForeignTextFromSteeringTheTerminal) {
  EXPECT_EQ(RenderTable({{"A"}}, {{"x\x1b[2J\ny"}}, kPipe), "A\nx [2J y\n");
}

TEST(Table, ColoursTextNotPadding) {
  EXPECT_EQ(RenderTable({{"A"}, {"B"}}, {{{"ok", Tint::kGood}, "x"}}, {.colours = true}),
            "\x1b[2mA\x1b[0m   \x1b[2mB\x1b[0m\n"
            "\x1b[32mok\x1b[0m  x\n");
}

TEST(JobView, SaysWhatGoesOnInALine) {
  v1::Job failed = EndedJob("7", v1::JOB_STATE_FAILED);
  failed.set_last_end(v1::ATTEMPT_END_GPU_ERROR);
  failed.set_error("Xid 79\non gpu-b");
  v1::Job starting = RunningJob("7");
  starting.set_state(v1::JOB_STATE_CONFIGURING);
  v1::Job stopping = RunningJob("7");
  stopping.set_cancel_requested(true);
  const struct {
    v1::Job job;
    const char* line;
  } rows[] = {
      {PendingJob("7"), "7 PENDING  waits for 2 GPUs with 8.0 GiB free"},
      {starting, "7 CONFIGURING  on gpu-b GPUs 0,1, attempt 2"},
      {stopping, "7 RUNNING  will be cancelled  on gpu-b GPUs 0,1, attempt 2"},
      {RunningJob("7"), "7 RUNNING  denoise 6/12  2.50 s/step  ETA 0:15  on gpu-b GPUs 0,1, attempt 2"},
      {EndedJob("7", v1::JOB_STATE_COMPLETED), "7 COMPLETED  in 0:42"},
      {EndedJob("7", v1::JOB_STATE_CANCELLED), "7 CANCELLED"},
      {failed, "7 FAILED  GPU_ERROR: Xid 79 on gpu-b"},
  };
  for (const auto& row : rows) EXPECT_EQ(JobLine(row.job), row.line);
}

TEST(JobView, DrawsBarsThatFitTheScreen) {
  EXPECT_THAT(
      WatchBlock({RunningJob("7")}, "", {.columns = 120, .rows = 24}),
      ElementsAre("7  RUNNING      denoise [###############...............] 6/12  2.50 s/step  ETA 0:15  "
                  "on gpu-b GPUs 0,1, attempt 2"));
  EXPECT_THAT(WatchBlock({RunningJob("7")}, "", kTerminal80),
              ElementsAre("7  RUNNING      denoise [#############.............] 6/12  2.50 s/step  ETA 0:15"))
      << "where it runs has no room beside eight columns of bar";
  EXPECT_THAT(WatchBlock({RunningJob("7")}, "", {.columns = 40, .rows = 24}),
              ElementsAre("7  RUNNING      denoise 6/12  2.50 s/..."));
  for (int columns = 1; columns <= 200; ++columns) {
    const auto lines =
        WatchBlock({RunningJob("7"), PendingJob("12"), EndedJob("100", v1::JOB_STATE_COMPLETED)},
                   "the connection was lost", {.columns = columns, .rows = 24});
    EXPECT_THAT(lines, Each(ResultOf(DisplayWidth, testing::Le(columns)))) << columns;
  }
}

TEST(JobView, ShowsTheBusiestWhereNotAllHaveRoom) {
  std::vector<v1::Job> jobs;
  for (int i = 0; i < 20; ++i) jobs.push_back(EndedJob("done-" + std::to_string(i), v1::JOB_STATE_COMPLETED));
  for (int i = 0; i < 20; ++i) jobs.push_back(PendingJob("waiting-" + std::to_string(i)));
  jobs.push_back(RunningJob("busy"));
  const auto lines = WatchBlock(jobs, "a note", {.columns = 80, .rows = 6});
  EXPECT_THAT(lines, ElementsAre(StartsWith("busy"), StartsWith("waiting-0"), StartsWith("waiting-1"),
                                 "41 jobs: 20 PENDING, 1 RUNNING, 20 COMPLETED (3 of them shown)", "a note"));
}

TEST(JobView, ListsJobs) {
  v1::Job failed = EndedJob("1", v1::JOB_STATE_FAILED);
  failed.set_error("ffmpeg is missing");
  EXPECT_EQ(JobTable({PendingJob("12"), RunningJob("7"), failed}, kNow, kTerminal80),
            "JOB  STATE    STAGE         WHERE      USER   AGE  PROMPT OR REASON\n"
            "12   PENDING                                 1:05  (waits for 2 GPUs with 8.0...\n"
            "7    RUNNING  denoise 6/12  gpu-b:0,1  ann   1:05  a cat\n"
            "1    FAILED                            ann   1:05  ffmpeg is missing\n");
}

TEST(JobView, TellsAllOfOneJob) {
  v1::Job job = RunningJob("7");
  job.mutable_spec()->set_name("my cat");
  job.mutable_spec()->set_model_name("mini-ovi");
  job.mutable_spec()->set_text_prompt(
      "a cat that goes\non and on and on, for far more than the eighty columns there are");
  job.mutable_spec()->set_seed(0);
  job.add_warnings("size was scaled");
  EXPECT_EQ(JobDetails(job, kNow, absl::UTCTimeZone(), kTerminal80),
            "job        7\n"
            "state      RUNNING\n"
            "progress   denoise 6/12  2.50 s/step  ETA 0:15\n"
            "where      on gpu-b GPUs 0,1, attempt 2\n"
            "name       my cat\n"
            "user       ann\n"
            "model      mini-ovi\n"
            "prompt     a cat that goes on and on and on, for far more than the eighty col...\n"
            "seed       0\n"
            "submitted  2025-11-23 17:59:00\n"
            "started    2025-11-23 17:59:05\n"
            "warning    size was scaled\n"
            "\n"
            "ATTEMPT  NODE   GPUS  GROUP        TIME  PEAK/GPU  END            MESSAGE\n"
            "      1  gpu-a  0     g1-1         0:30   8.0 GiB  OUT_OF_MEMORY  denoise: by...\n"
            "      2  gpu-b  0,1   g1-2 (warm)  0:20            goes on\n");
}

TEST(JobView, ShowsTheModeAndTheHostMemoryOfAttempts) {
  v1::Job job;
  v1::Attempt* attempt = job.add_attempts();
  attempt->set_number(1);
  attempt->set_node("gpu-a");
  attempt->add_gpu_indices(0);
  attempt->set_group_id("g1-1");
  attempt->set_started_at_ms(kNow - 60'000);
  attempt->set_ended_at_ms(kNow - 30'000);
  attempt->set_end(v1::ATTEMPT_END_COMPLETED);
  attempt->set_vram_mode(v1::VRAM_MODE_ULTRA_LOW);
  for (const std::int64_t gib : {4, 2}) {
    v1::MemoryReport* report = attempt->add_memory();
    report->set_device_bytes_peak(gib << 30);
    report->set_host_bytes_planned(std::int64_t{13} << 30);
  }
  EXPECT_EQ(AttemptTable(job, kNow, kTerminal80),
            "ATTEMPT  NODE   GPUS  GROUP  VRAM MODE  TIME  PEAK/GPU      HOST  END\n"
            "      1  gpu-a  0     g1-1   ultra_low  0:30   4.0 GiB  13.0 GiB  COMPLETED\n");
}

TEST(JobView, CallsItsNewsByTheState) {
  const auto details = [](const v1::Job& job) {
    return JobDetails(job, kNow, absl::UTCTimeZone(), kTerminal80);
  };
  v1::Job failed = EndedJob("7", v1::JOB_STATE_FAILED);
  failed.set_error(std::string(200, 'x'));
  EXPECT_THAT(details(PendingJob("7")), HasSubstr("\nreason     waits for 2 GPUs with 8.0 GiB free\n"));
  EXPECT_THAT(details(EndedJob("7", v1::JOB_STATE_COMPLETED)), HasSubstr("\ntook       0:42\n"));
  EXPECT_THAT(details(failed), HasSubstr("\nerror      " + failed.error() + "\n")) << "an error is never cut";
}

TEST(JobView, ListsWaysToRunAJob) {
  v1::PlanJobResponse plan;
  v1::PlanOption* good = plan.add_options();
  good->set_world_size(2);
  good->set_bytes_per_rank(std::int64_t{6} << 30);
  good->set_fits_now(true);
  good->set_fits_ever(true);
  good->set_node("gpu-a");
  good->add_gpu_indices(0);
  good->add_gpu_indices(3);
  good->set_reason("fewest GPUs that fit");
  v1::PlanOption* bad = plan.add_options();
  bad->set_world_size(1);
  bad->set_bytes_per_rank(std::int64_t{12} << 30);
  bad->set_reason("the largest GPU has 8.0 GiB");
  EXPECT_EQ(PlanTable(plan, kTerminal80),
            "GPUS  MEMORY/GPU  FITS NOW  FITS EVER  WHERE      REASON\n"
            "   2     6.0 GiB  yes       yes        gpu-a:0,3  fewest GPUs that fit\n"
            "   1    12.0 GiB  no        no                    the largest GPU has 8.0 GiB\n");
}

v1::Node TwoGpuNode() {
  v1::Node node;
  node.set_name("gpu-a");
  node.set_state(v1::NODE_STATE_DRAINED);
  node.set_drain_reason("new fan");
  for (int i = 0; i < 2; ++i) {
    v1::Gpu* gpu = node.add_gpus();
    gpu->set_index(i);
    gpu->set_name("RTX 3090");
    gpu->set_bytes_total(std::int64_t{24} << 30);
    gpu->set_bytes_foreign(std::int64_t{1} << 30);
    gpu->set_health(v1::GPU_HEALTH_OK);
  }
  node.mutable_gpus(0)->set_temperature_celsius(61);
  node.mutable_gpus(1)->set_health(v1::GPU_HEALTH_FAULTY);
  node.mutable_gpus(1)->set_fault("Xid 79");
  node.add_gpu_bytes_reserved(std::int64_t{8} << 30);
  node.add_gpu_bytes_reserved(std::int64_t{30} << 30);
  v1::Group* group = node.add_groups();
  group->set_id("g7-1");
  group->set_state(v1::GROUP_STATE_BUSY);
  group->add_gpu_indices(0);
  group->set_job_id("7");
  v1::ModelInfo* mini = node.add_models();
  mini->set_name("mini-ovi");
  mini->set_weights_bytes(20 << 20);
  const std::tuple<int, bool, std::int64_t> needs[] = {{1, false, 16}, {2, false, 15}, {2, true, 9}};
  for (const auto& [world_size, fsdp, mib] : needs) {
    v1::MemoryNeed* need = mini->add_memory_needs();
    need->set_world_size(world_size);
    need->set_fsdp(fsdp);
    need->set_as_executed_bytes(mib << 20);
  }
  v1::ModelInfo* broken = node.add_models();
  broken->set_name("720x720_5s");
  broken->set_problem("weights are missing");
  node.set_last_heard_at_ms(kNow - 2'000);
  return node;
}

TEST(NodeView, ListsNodesAGpuALine) {
  v1::Node empty;
  empty.set_name("cpu-1");
  empty.set_state(v1::NODE_STATE_LOST);
  EXPECT_EQ(
      NodeTable({TwoGpuNode(), empty}, {.columns = 200}),
      "NODE   STATE    GPU  NAME                        TOTAL      FREE  RESERVED  TEMP  MODELS    GROUPS\n"
      "gpu-a  DRAINED    0  RTX 3090                 24.0 GiB  15.0 GiB   8.0 GiB  61 C  mini-ovi  "
      "g7-1 BUSY job 7\n"
      "                  1  RTX 3090 FAULTY: Xid 79  24.0 GiB       0 B  30.0 GiB\n"
      "cpu-1  LOST\n");
}

TEST(NodeView, TellsAllOfOneNode) {
  EXPECT_THAT(
      NodeDetails(TwoGpuNode(), kNow, kPipe),
      AllOf(
          HasSubstr("\ndrained     new fan\n"), HasSubstr("\nlast heard  0:02 ago\n"),
          HasSubstr("\nmodel       mini-ovi, 20.0 MiB of weights, needs 16.0 MiB alone, 15.0 MiB each on 2; "
                    "with fsdp 9.0 MiB each on 2\n"),
          HasSubstr("\nmodel       720x720_5s: weights are missing\n")));
}

TEST(Words, AreThoseOfTheUsers) {
  EXPECT_EQ(StateWord(static_cast<v1::JobState>(99)), "99") << "of a newer coordinator";
  EXPECT_EQ(EndWord(v1::ATTEMPT_END_UNSPECIFIED), "");
  EXPECT_EQ(KindWord(v1::ARTIFACT_KIND_CONTACT_SHEET), "sheet");
  EXPECT_EQ(StateWords(), "pending, configuring, running, completing, completed, failed, cancelled");
  for (const char* word : {"running", "RUNNING", "Job_State_Running"}) {
    EXPECT_EQ(ParseState(word), v1::JOB_STATE_RUNNING) << word;
  }
  for (const char* word : {"", "run", "unspecified", "JOB_STATE_"})
    EXPECT_EQ(ParseState(word), std::nullopt) << word;
  EXPECT_EQ(ParseKind("poster"), v1::ARTIFACT_KIND_POSTER);
  EXPECT_EQ(ParseKind("contact_sheet"), std::nullopt);
}

}  // namespace
}  // namespace ovi::client
