// What the journal makes of files that are old, foreign, broken or in use.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "coordinator/journal/codec.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/schema.h"
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

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A journal of `jobs` jobs, closed, in one file.
std::string JournalOf(const TempFolder& folder, int jobs) {
  const std::string path = folder / "journal.db";
  std::vector<core::Change> changes;
  for (core::JobId job = 1; job <= jobs; ++job) {
    const std::vector<core::Change> of_job = JobThatGoesWell(job);
    changes.insert(changes.end(), of_job.begin(), of_job.end());
  }
  EXPECT_TRUE(MustOpen(path)->Append(changes).ok());
  return path;
}

void Sql(const std::string& path, const std::string& sql) {
  const auto database = SqliteDatabase::Open(path, SqliteOpen::kCreate);
  ASSERT_TRUE(database.ok()) << database.status();
  const absl::Status status = (*database)->Execute(sql);
  ASSERT_TRUE(status.ok()) << status;
}

struct Refusal {
  const char* name;
  std::function<void(const TempFolder&)> prepare;  // what lies there as journal.db
  absl::StatusCode code;
  const char* says;
};

void CutInHalf(const TempFolder& folder) {
  const std::string path = JournalOf(folder, 100);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
}

void Scribble(const TempFolder& folder) {
  std::string bytes = BytesOf(JournalOf(folder, 100));
  bytes.replace(5 * 4096, 4096, 4096, 'x');
  folder.Write("journal.db", bytes);
}

TEST(JournalOpen, RefusesWhatItCannotTrustAndTouchesNothing) {
  using enum absl::StatusCode;
  const Refusal cases[] = {
      {"empty file", [](const TempFolder& f) { f.Write("journal.db", ""); }, kDataLoss, "is empty"},
      {"text", [](const TempFolder& f) { f.Write("journal.db", std::string(10'000, 'x')); }, kDataLoss,
       "not a database"},
      {"short text", [](const TempFolder& f) { f.Write("journal.db", "jobs\n"); }, kDataLoss,
       "not a database"},
      {"cut in half", CutInHalf, kDataLoss, "malformed"},
      {"a page overwritten", Scribble, kDataLoss, "is corrupt"},
      {"folder", [](const TempFolder& f) { std::filesystem::create_directory(f / "journal.db"); },
       kFailedPrecondition, "is a folder"},
      {"FIFO", [](const TempFolder& f) { ASSERT_EQ(::mkfifo((f / "journal.db").c_str(), 0600), 0); },
       kFailedPrecondition, "not a regular file"},
      {"somebody else's database",
       [](const TempFolder& f) { Sql(f / "journal.db", "CREATE TABLE events(x)"); }, kFailedPrecondition,
       "no journal of ovi-coordinator"},
      {"newer version", [](const TempFolder& f) { Sql(JournalOf(f, 1), "PRAGMA user_version = 3"); },
       kFailedPrecondition, "has version 3; this ovi-coordinator reads versions 1 to 2"},
      {"no version", [](const TempFolder& f) { Sql(JournalOf(f, 1), "PRAGMA user_version = 0"); },
       kFailedPrecondition, "has version 0"},
      {"a table is gone", [](const TempFolder& f) { Sql(JournalOf(f, 1), "DROP TABLE events"); }, kInternal,
       "no such table"},
      {"its id is gone",
       [](const TempFolder& f) { Sql(JournalOf(f, 1), "DELETE FROM meta WHERE key = 'cluster_id'"); },
       kDataLoss, "has no answer to SELECT value FROM meta WHERE key = 'cluster_id'"},
      {"its next job is gone",
       [](const TempFolder& f) { Sql(JournalOf(f, 1), "DELETE FROM meta WHERE key = 'next_job'"); },
       kDataLoss, "has no answer to SELECT value FROM meta WHERE key = 'next_job'"},
      {"only its log is left",
       [](const TempFolder& f) {
         JournalOf(f, 1);
         std::filesystem::rename(f / "journal.db", f / "journal.db-wal");
       },
       kDataLoss, "is missing, but"}};
  for (const Refusal& c : cases) {
    SCOPED_TRACE(c.name);
    const TempFolder folder;
    c.prepare(folder);
    std::map<std::string, std::string> before;
    for (const std::string& name : folder.Files()) before[name] = BytesOf(folder / name);
    before.try_emplace("journal.db.lock");

    const absl::Status status = Journal::Open(folder / "journal.db").status();
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "journal.db"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));

    for (const std::string& name : folder.Files()) {
      ASSERT_TRUE(before.contains(name)) << name << " is new";
      if (name == "journal.db.lock") continue;
      EXPECT_EQ(BytesOf(folder / name), before[name]) << name;
    }
  }
}

TEST(JournalOpen, NeedsItsFolder) {
  const TempFolder folder;
  for (const char* name : {"missing/journal.db", "file/journal.db"}) {
    folder.Write("file", "");
    const absl::Status status = Journal::Open(folder / name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / name));
  }
  EXPECT_THAT(folder.Files(), ElementsAre("file"));
}

// As a user who is not root, for whom modes of files mean something, while it lives.
class AsNobody {
 public:
  explicit AsNobody(const TempFolder& folder) {
    if (::geteuid() != 0) return;
    constexpr uid_t kNobody = 65534;
    OVI_CHECK(::chown(folder.path().c_str(), kNobody, kNobody) == 0);
    for (const std::string& name : folder.Files())
      OVI_CHECK(::chown((folder / name).c_str(), kNobody, kNobody) == 0);
    OVI_CHECK(::seteuid(kNobody) == 0);
  }
  ~AsNobody() { OVI_CHECK(::seteuid(::getuid()) == 0); }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
};

TEST(JournalOpen, RefusesWhatItMayNotReadOrWrite) {
  const struct {
    const char* name;
    mode_t folder_mode, file_mode;
    bool locked_before;
    const char* says;
  } cases[] = {{"unreadable file", 0700, 0000, true, "unable to open database file"},
               {"read-only file", 0700, 0400, true, "cannot be written"},
               {"read-only folder", 0500, 0600, false, "cannot open its lock"},
               {"read-only folder, lock is there", 0500, 0600, true, "journal.db"},
               {"unreadable folder", 0000, 0600, true, "journal.db"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const TempFolder folder;
    const std::string path = JournalOf(folder, 2);
    const std::string bytes = BytesOf(path);
    if (!c.locked_before) std::filesystem::remove(path + ".lock");
    {
      const AsNobody nobody(folder);
      ASSERT_EQ(::chmod(path.c_str(), c.file_mode), 0);
      ASSERT_EQ(::chmod(folder.path().c_str(), c.folder_mode), 0);
      const absl::Status status = Journal::Open(path).status();
      ::chmod(folder.path().c_str(), 0700);
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path));
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
    }
    EXPECT_EQ(BytesOf(path), bytes);
  }
}

TEST(JournalOpen, MakesNoNewOneOnAFullDisk) {
  const TempFolder folder;
  {
    const test::FaultyDisk disk(test::Disk::kFull);
    const absl::Status status = Journal::Open(folder / "journal.db").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "journal.db"));
  }
  EXPECT_THAT(folder.Files(), ElementsAre("journal.db.lock"));
  MustOpen(folder / "journal.db");
}

TEST(JournalOpen, ReplacesWhatAKilledBirthLeft) {
  const TempFolder folder;
  folder.Write("journal.db.new", "half");
  folder.Write("journal.db.new-journal", "half");
  EXPECT_TRUE(Replayed(*MustOpen(folder / "journal.db")).empty());
  EXPECT_THAT(folder.Files(), ElementsAre("journal.db", "journal.db.lock"));
}

TEST(JournalOpen, KeepsASecondOneOut) {
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  std::filesystem::create_symlink("journal.db", folder / "alias.db");
  auto journal = MustOpen(path);
  for (const std::string& name :
       {path, folder / "alias.db",
        folder.path() + "/../" + std::filesystem::path(path).parent_path().filename().string() +
            "/journal.db"}) {
    const absl::Status status = Journal::Open(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << name;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat(name, ": in use by process ", ::getpid())));
  }
  journal.reset();
  MustOpen(path);
}

TEST(JournalOpen, RefusesALockWhoseHolderIsNotKnown) {
  const TempFolder folder;
  const UniqueFd fd(::open(folder.Write("journal.db.lock", "").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  const absl::Status status = Journal::Open(folder / "journal.db").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("in use by another process"));
}

TEST(JournalOpen, IsFreeAgainWhenItsHolderWasKilled) {
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto journal = Journal::Open(path);
    [[maybe_unused]] const ssize_t written = ::write(ready[1], journal.ok() ? "+" : "-", 1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, '+');
  EXPECT_THAT(std::string(Journal::Open(path).status().message()),
              HasSubstr(absl::StrCat("in use by process ", child)));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  MustOpen(path);
  ::close(ready[0]);
  ::close(ready[1]);
}

// --- Version 1

void MakeVersion1(const std::string& path, const std::vector<core::Change>& changes) {
  Sql(path, absl::StrCat(
                "PRAGMA application_id = ", kJournalApplicationId,
                "; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;"
                "CREATE TABLE events(seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, payload BLOB NOT NULL);"
                "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
                "INSERT INTO meta VALUES ('created_ms', 5), ('cluster_id', 'c1')"));
  const auto database = SqliteDatabase::Open(path, SqliteOpen::kExisting);
  auto insert = (*database)->Prepare("INSERT INTO events(kind, payload) VALUES (?1, ?2)");
  for (const core::Change& change : changes) {
    const JournalRow row = EncodeChange(change);
    insert->Bind(1, row.kind);
    insert->BindBlob(2, row.payload);
    ASSERT_TRUE(insert->Run().ok());
  }
}

TEST(JournalOpen, MigratesVersion1AndDropsItsForgottenJobs) {
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  std::vector<core::Change> changes, kept;
  for (core::JobId job = 1; job <= 9; ++job) {
    const std::vector<core::Change> of_job = JobThatGoesWell(job);
    changes.insert(changes.end(), of_job.begin(), of_job.end());
    if (job % 3 != 0) kept.insert(kept.end(), of_job.begin(), of_job.end());
  }
  for (const core::JobId job : {3, 6, 9}) changes.emplace_back(core::JobForgotten{.job = job});
  changes.emplace_back(core::NodeDrained{.node = "box-1"});
  kept.push_back(changes.back());
  MakeVersion1(path, changes);

  for (const char* time : {"first", "second"}) {
    SCOPED_TRACE(time);
    const auto journal = MustOpen(path);
    EXPECT_EQ(Replayed(*journal), kept);
    EXPECT_EQ(journal->next_job(), 10);
    EXPECT_EQ(journal->cluster_id(), "c1");
  }
  // From here on it is a journal like any other.
  const auto journal = MustOpen(path);
  ASSERT_TRUE(journal->Append(std::vector<core::Change>{core::JobForgotten{.job = 1}}).ok());
  kept.erase(kept.begin(), kept.begin() + 5);
  EXPECT_EQ(Replayed(*journal), kept);
}

TEST(JournalOpen, LeavesAVersion1JournalAloneThatItCannotMigrate) {
  for (const char* damage : {"unreadable row", "full disk"}) {
    SCOPED_TRACE(damage);
    const TempFolder folder;
    const std::string path = folder / "journal.db";
    MakeVersion1(path, JobThatGoesWell(1));
    const bool full = damage == std::string("full disk");
    if (!full) Sql(path, "UPDATE events SET payload = x'ffff' WHERE seq = 2");
    {
      const test::FaultyDisk disk(full ? test::Disk::kFull : test::Disk::kWorks);
      const absl::Status status = Journal::Open(path).status();
      EXPECT_FALSE(status.ok());
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr(path + ": " + (full ? "" : "cannot migrate row 2")));
    }
    const auto database = SqliteDatabase::Open(path, SqliteOpen::kExisting);
    EXPECT_EQ((*database)->QueryNumber("PRAGMA user_version").value(), 1);
    EXPECT_EQ((*database)->QueryNumber("SELECT count(*) FROM pragma_table_info('events')").value(), 3);
    EXPECT_EQ((*database)->QueryNumber("SELECT count(*) FROM events").value(), 5);
  }
}

// --- Rot

TEST(JournalOpen, NoticesARowThatWasChanged) {
  const struct {
    const char* name;
    const char* sql;
    const char* says;
  } cases[] = {
      {"payload", "UPDATE events SET payload = (SELECT payload FROM events WHERE seq = 6) WHERE seq = 1",
       "row 1 (job 1): is not what was written"},
      {"job", "UPDATE events SET job = 2 WHERE seq = 3", "row 3 (job 2): is not what was written"},
      {"kind", "UPDATE events SET kind = 4 WHERE seq = 3", "row 3 (job 1): is not what was written"}};
  for (const auto& c : cases) {
    const TempFolder folder;
    const std::string path = JournalOf(folder, 2);
    Sql(path, c.sql);
    const absl::Status status = MustOpen(path)->Replay([](const core::Change&) { return absl::OkStatus(); });
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(path, ": ", c.says))) << c.name;
  }
}

// Goal: whatever the disk did to one byte, no change is lost or altered silently.
TEST(JournalOpen, NeverGivesBackOtherChangesWhenAByteRots) {
  const TempFolder folder;
  const std::string path = JournalOf(folder, 20);
  const std::vector<core::Change> changes = Replayed(*MustOpen(path));
  const std::string good = BytesOf(path);
  int refused = 0;
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = good;
    const std::size_t offset = random() % bytes.size();
    bytes[offset] = static_cast<char>(bytes[offset] ^ (1 << random() % 8));
    SCOPED_TRACE(absl::StrCat("offset ", offset));
    folder.Write("journal.db", bytes);
    std::vector<core::Change> read;
    const auto journal = Journal::Open(path);
    const absl::Status status =
        !journal.ok() ? journal.status() : (*journal)->Replay([&read](const core::Change& change) {
          read.push_back(change);
          return absl::OkStatus();
        });
    if (!status.ok()) {
      ++refused;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    } else {
      EXPECT_EQ(read, changes);
    }
  }
  // The rest hit bytes that hold nothing.
  EXPECT_GT(refused, 150);
}

}  // namespace
}  // namespace ovi
