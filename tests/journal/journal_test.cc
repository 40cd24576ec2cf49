// What the journal keeps, and in which order. Refusals: journal_open_test.cc; kill -9: journal_crash_test.cc.
#include "coordinator/journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/core/state.h"
#include "coordinator/journal/sqlite.h"
#include "tests/journal/changes.h"
#include "tests/journal/faulty_disk.h"
#include "tests/journal/open_journal.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using test::JobThatGoesWell;
using test::MustOpen;
using test::Replayed;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

core::JobAdded Added(core::JobId job) {
  return {.job = job, .request_id = "r"};
}

void MustAppend(Journal& journal, const std::vector<core::Change>& changes) {
  const absl::Status status = journal.Append(changes);
  ASSERT_TRUE(status.ok()) << status;
}

TEST(Journal, BeginsEmptyWithTheFirstJobToCome) {
  const TempFolder folder;
  const auto journal = MustOpen(folder / "journal.db");
  EXPECT_THAT(Replayed(*journal), IsEmpty());
  EXPECT_EQ(journal->next_job(), 1);
  EXPECT_EQ(journal->cluster_id().size(), 32u);
}

TEST(Journal, GivesBackEveryChangeInOrderAfterItWasClosed) {
  const TempFolder folder;
  std::vector<core::Change> changes = test::EveryChange();
  std::erase_if(changes, [](const core::Change& c) { return std::holds_alternative<core::JobForgotten>(c); });
  std::string cluster_id;
  {
    const auto journal = MustOpen(folder / "journal.db");
    cluster_id = journal->cluster_id();
    MustAppend(*journal, {changes[0], changes[1], changes[2]});
    MustAppend(*journal, {changes[3]});
    MustAppend(*journal, {changes.begin() + 4, changes.end()});
    EXPECT_EQ(Replayed(*journal), changes);
  }
  const auto journal = MustOpen(folder / "journal.db");
  EXPECT_EQ(Replayed(*journal), changes);
  EXPECT_EQ(journal->next_job(), 8);
  EXPECT_EQ(journal->cluster_id(), cluster_id);
}

TEST(Journal, MayBeNamedByARelativePath) {
  const TempFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  {
    const auto journal = MustOpen("journal.db");
    MustAppend(*journal, {Added(1)});
  }
  std::filesystem::current_path(before);
  EXPECT_THAT(Replayed(*MustOpen(folder / "journal.db")), ElementsAre(core::Change(Added(1))));
}

TEST(Journal, IsForItsOwnerOnly) {
  const TempFolder folder;
  const auto journal = MustOpen(folder / "journal.db");
  MustAppend(*journal, {Added(1)});
  for (const std::string& name : folder.Files()) {
    struct stat info {};
    ASSERT_EQ(::stat((folder / name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0077, 0u) << name;
  }
}

TEST(Journal, ForgetsAJobWithAllItsChanges) {
  const TempFolder folder;
  const core::NodeDrained drained{.node = "box-1"};
  {
    const auto journal = MustOpen(folder / "journal.db");
    MustAppend(*journal, JobThatGoesWell(1));
    MustAppend(*journal, {Added(2), drained, core::JobForgotten{.job = 1}, Added(3)});
  }
  const auto journal = MustOpen(folder / "journal.db");
  EXPECT_THAT(Replayed(*journal),
              ElementsAre(core::Change(Added(2)), core::Change(drained), core::Change(Added(3))));
  EXPECT_EQ(journal->next_job(), 4);
}

TEST(Journal, NeverGivesAJobIdTwice) {
  const TempFolder folder;
  {
    const auto journal = MustOpen(folder / "journal.db");
    MustAppend(*journal, {Added(1), Added(2), Added(9), core::JobForgotten{.job = 9}});
    EXPECT_EQ(journal->next_job(), 10);
    MustAppend(*journal, {core::JobForgotten{.job = 1}, core::JobForgotten{.job = 2}});
    EXPECT_EQ(journal->next_job(), 10);
  }
  const auto journal = MustOpen(folder / "journal.db");
  EXPECT_THAT(Replayed(*journal), IsEmpty());
  EXPECT_EQ(journal->next_job(), 10);
}

TEST(Journal, MakesTheSameJobsAgain) {
  const TempFolder folder;
  core::State before;
  const auto happen = [&before](Journal& journal, const std::vector<core::Change>& changes) {
    for (const core::Change& change : changes) {
      const absl::Status status = core::Apply(before, change);
      ASSERT_TRUE(status.ok()) << status;
    }
    MustAppend(journal, changes);
  };
  {
    const auto journal = MustOpen(folder / "journal.db");
    for (core::JobId job = 1; job <= 9; ++job) happen(*journal, JobThatGoesWell(job));
    happen(*journal, {core::JobForgotten{.job = 4}, core::NodeDrained{.node = "box-1", .reason = "fan"}});
    happen(*journal, {core::JobForgotten{.job = 1}, core::JobForgotten{.job = 9}});
    std::vector<core::Change> begun = JobThatGoesWell(10);
    begun.resize(3);
    happen(*journal, begun);
    happen(*journal, {JobThatGoesWell(11)[0], core::CancelRequested{.job = 10}});
    happen(*journal, {JobThatGoesWell(12)[0]});
  }
  core::State after;
  const auto journal = MustOpen(folder / "journal.db");
  const absl::Status replayed =
      journal->Replay([&after](const core::Change& change) { return core::Apply(after, change); });
  ASSERT_TRUE(replayed.ok()) << replayed;
  after.next_job = std::max(after.next_job, journal->next_job());
  EXPECT_EQ(after.jobs, before.jobs);
  EXPECT_EQ(after.request_ids, before.request_ids);
  EXPECT_EQ(after.drained, before.drained);
  EXPECT_EQ(after.next_job, before.next_job);
  EXPECT_EQ(after.active, before.active);
  EXPECT_EQ(after.finished, before.finished);
}

TEST(Journal, DoesNotGrowWhenJobsComeAndGo) {
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  const auto append_jobs = [&path](core::JobId from, core::JobId to) {
    const auto journal = MustOpen(path);
    std::vector<core::Change> changes;
    for (core::JobId job = from; job < to; ++job) {
      const std::vector<core::Change> of_job = JobThatGoesWell(job);
      changes.insert(changes.end(), of_job.begin(), of_job.end());
      if (job > 20) changes.emplace_back(core::JobForgotten{.job = job - 20});
      if (job % 10 != 0) continue;
      MustAppend(*journal, changes);
      changes.clear();
    }
    EXPECT_EQ(Replayed(*journal).size(), 20u * 5);
  };
  append_jobs(1, 101);
  const auto size = std::filesystem::file_size(path);
  append_jobs(101, 1001);
  EXPECT_LE(std::filesystem::file_size(path), size + size / 4);
}

TEST(Journal, SyncsOnceABatch) {
  const TempFolder folder;
  const auto journal = MustOpen(folder / "journal.db");
  MustAppend(*journal, {Added(1)});
  const int before = test::SyncCount();
  std::vector<core::Change> changes;
  for (core::JobId job = 2; job < 102; ++job) changes.emplace_back(Added(job));
  MustAppend(*journal, changes);
  EXPECT_EQ(test::SyncCount() - before, 1);
  MustAppend(*journal, {});
  EXPECT_EQ(test::SyncCount() - before, 1);

  const JournalStats stats = journal->stats();
  EXPECT_EQ(stats.rows, 101);
  EXPECT_EQ(stats.commits, 2);
  EXPECT_GT(stats.commit_seconds_last, 0);
  EXPECT_GT(stats.commit_seconds_sum, stats.commit_seconds_last);
}

TEST(Journal, TakesNothingOfABatchWhenTheDiskIsFullAndGoesOnWhenThereIsRoom) {
  const TempFolder folder;
  {
    const auto journal = MustOpen(folder / "journal.db");
    MustAppend(*journal, {Added(1)});
    {
      const test::FaultyDisk disk(test::Disk::kFull);
      const absl::Status status = journal->Append(std::vector<core::Change>{Added(2), Added(3)});
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "journal.db: database or disk is full"));
    }
    EXPECT_EQ(journal->next_job(), 2);
    EXPECT_EQ(journal->stats().commits, 1);
    EXPECT_THAT(Replayed(*journal), ElementsAre(core::Change(Added(1))));
    MustAppend(*journal, {Added(4)});
  }
  EXPECT_THAT(Replayed(*MustOpen(folder / "journal.db")),
              ElementsAre(core::Change(Added(1)), core::Change(Added(4))));
}

TEST(Journal, TakesNothingOfABatchThatCouldNotBeSynced) {
  const TempFolder folder;
  {
    const auto journal = MustOpen(folder / "journal.db");
    MustAppend(*journal, {Added(1)});
    {
      const test::FaultyDisk disk(test::Disk::kCannotSync);
      const absl::Status status = journal->Append(std::vector<core::Change>{Added(2), Added(3)});
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "journal.db: disk I/O error"));
    }
    EXPECT_THAT(Replayed(*journal), ElementsAre(core::Change(Added(1))));
    MustAppend(*journal, {Added(4)});
  }
  EXPECT_THAT(Replayed(*MustOpen(folder / "journal.db")),
              ElementsAre(core::Change(Added(1)), core::Change(Added(4))));
}

TEST(Journal, WaitsASecondForSomebodyElseAtTheDatabaseAndThenSaysSo) {
  const TempFolder folder;
  const auto journal = MustOpen(folder / "journal.db");
  {
    const auto somebody = SqliteDatabase::Open(folder / "journal.db", SqliteOpen::kExisting);
    ASSERT_TRUE((*somebody)->Execute("BEGIN IMMEDIATE").ok());
    const absl::Status status = journal->Append(std::vector<core::Change>{Added(1)});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "journal.db: database is locked"));
  }
  MustAppend(*journal, {Added(2)});
  EXPECT_THAT(Replayed(*journal), ElementsAre(core::Change(Added(2))));
}

TEST(Journal, StopsTheReplayAtAChangeThatIsNotTaken) {
  const TempFolder folder;
  const auto journal = MustOpen(folder / "journal.db");
  MustAppend(*journal, {Added(5), Added(6), Added(7)});
  int seen = 0;
  const absl::Status status = journal->Replay([&seen](const core::Change& change) {
    ++seen;
    return std::get<core::JobAdded>(change).job == 6 ? absl::FailedPreconditionError("no") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), (folder / "journal.db") + ": row 2 (job 6): no");
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace ovi
