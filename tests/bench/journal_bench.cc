// The journal against SQLite alone: rows a second by batch, with the same rows, the same disk and in turns;
// and what 100,000 jobs in it cost.
//
//   journal_bench [--jobs=100000] [--seconds=1] [--folder=/tmp]
//
// `seconds`: how long each figure is measured; best of three. `folder` decides which disk's fsync is
// measured.
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "coordinator/journal/codec.h"
#include "coordinator/journal/journal.h"
#include "tests/journal/changes.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kRounds = 3;
constexpr int kBatches[] = {1, 8, 32, 64, 256};

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Changes of jobs that go well, without end.
class Lives {
 public:
  explicit Lives(core::JobId first) : job_(first) {}
  std::span<const core::Change> Next(int count) {
    batch_.clear();
    while (static_cast<int>(batch_.size()) < count) {
      if (rest_.empty()) rest_ = test::JobThatGoesWell(job_++);
      batch_.push_back(rest_.front());
      rest_.erase(rest_.begin());
    }
    return batch_;
  }

 private:
  core::JobId job_;
  std::vector<core::Change> rest_, batch_;
};

// SQLite with nothing around it: a table of the same columns, its index, a prepared statement.
class BareSqlite {
 public:
  explicit BareSqlite(const std::string& path) {
    OVI_CHECK(sqlite3_open_v2(path.c_str(), &db_,
                              SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                              nullptr) == SQLITE_OK);
    Run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE events(seq INTEGER PRIMARY KEY, job INTEGER, kind INTEGER, payload BLOB, checksum "
        "INTEGER);"
        "CREATE INDEX events_job ON events(job)");
    OVI_CHECK(sqlite3_prepare_v2(db_,
                                 "INSERT INTO events(job, kind, payload, checksum) VALUES (?1, ?2, ?3, ?4)",
                                 -1, &insert_, nullptr) == SQLITE_OK);
  }
  ~BareSqlite() {
    sqlite3_finalize(insert_);
    sqlite3_close(db_);
  }
  BareSqlite(const BareSqlite&) = delete;
  BareSqlite& operator=(const BareSqlite&) = delete;

  void Append(const std::vector<JournalRow>& rows) {
    Run("BEGIN");
    for (const JournalRow& row : rows) {
      sqlite3_bind_int64(insert_, 1, row.job);
      sqlite3_bind_int64(insert_, 2, row.kind);
      sqlite3_bind_blob64(insert_, 3, row.payload.data(), row.payload.size(), SQLITE_STATIC);
      sqlite3_bind_int64(insert_, 4, 1'234'567'890'123'456'789);  // as many bytes as a checksum
      OVI_CHECK(sqlite3_step(insert_) == SQLITE_DONE);
      sqlite3_reset(insert_);
    }
    Run("COMMIT");
  }

 private:
  void Run(const char* sql) { OVI_CHECK(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK); }

  sqlite3* db_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

std::unique_ptr<Journal> MustOpen(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path);
  if (!journal.ok()) {
    std::fprintf(stderr, "%s\n", journal.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(journal);
}

// Rows a second of both, a batch of one after a batch of the other: a disk that slows down slows both. What
// is made before the clock starts is what both are given.
struct Rates {
  double journal = 0;
  double bare = 0;
};
Rates MeasureInTurns(Journal& journal, BareSqlite& bare, Lives& lives, int batch, double seconds) {
  double journal_seconds = 0, bare_seconds = 0;
  int rows = 0;
  while (journal_seconds < seconds) {
    const std::span<const core::Change> changes = lives.Next(batch);
    std::vector<JournalRow> encoded;
    for (const core::Change& change : changes) encoded.push_back(EncodeChange(change));
    auto begin = Clock::now();
    OVI_CHECK(journal.Append(changes).ok());
    journal_seconds += SecondsSince(begin);
    begin = Clock::now();
    bare.Append(encoded);
    bare_seconds += SecondsSince(begin);
    rows += batch;
  }
  return {rows / journal_seconds, rows / bare_seconds};
}

json AppendPart(const std::string& folder, double seconds) {
  json results = json::array();
  for (const int batch : kBatches) {
    Rates best;
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      const std::string name = absl::StrCat(folder, "/batch", batch, "-", round);
      const auto journal = MustOpen(name + ".db");
      BareSqlite bare(name + ".bare");
      Lives lives(1);
      const Rates rates = MeasureInTurns(*journal, bare, lives, batch, seconds / kRounds);
      best = {std::max(best.journal, rates.journal), std::max(best.bare, rates.bare)};
      ratios.push_back(rates.journal / rates.bare);
    }
    results.push_back({{"batch", batch},
                       {"rows_per_second", best.journal},
                       {"bare_sqlite_rows_per_second", best.bare},
                       {"ratio", Median(ratios)}});
  }
  return results;
}

std::string JournalOf(const std::string& folder, int jobs) {
  const std::string path = absl::StrCat(folder, "/jobs", jobs, ".db");
  const auto journal = MustOpen(path);
  Lives lives(1);
  constexpr int kBatch = 1000;
  for (int rows = jobs * 5; rows > 0; rows -= kBatch) {
    OVI_CHECK(journal->Append(lives.Next(std::min(rows, kBatch))).ok());
  }
  return path;
}

// Batches of 32 into a journal of few jobs and into one of many, in turns.
json GrowthPart(const std::string& folder, int jobs, double seconds) {
  constexpr int kFew = 1000, kBatch = 32;
  const std::string path = JournalOf(folder, jobs);
  const auto few = MustOpen(JournalOf(folder, kFew));

  auto begin = Clock::now();
  const auto many = MustOpen(path);
  const double open_seconds = SecondsSince(begin);
  begin = Clock::now();
  int rows = 0;
  OVI_CHECK(many->Replay([&rows](const core::Change&) {
                  ++rows;
                  return absl::OkStatus();
                })
                .ok());
  const double replay_seconds = SecondsSince(begin);
  OVI_CHECK(rows == jobs * 5);

  std::vector<double> ratios;
  double rate = 0;
  for (int round = 0; round < kRounds; ++round) {
    Lives lives(jobs + 1 + round * 10'000'000);
    double few_seconds = 0, many_seconds = 0;
    int appended = 0;
    while (few_seconds < seconds / kRounds) {
      const std::span<const core::Change> changes = lives.Next(kBatch);
      begin = Clock::now();
      OVI_CHECK(few->Append(changes).ok());
      few_seconds += SecondsSince(begin);
      begin = Clock::now();
      OVI_CHECK(many->Append(changes).ok());
      many_seconds += SecondsSince(begin);
      appended += kBatch;
    }
    ratios.push_back(few_seconds / many_seconds);
    rate = std::max(rate, appended / many_seconds);
  }
  return {{"jobs", jobs},
          {"rows", rows},
          {"file_bytes", std::filesystem::file_size(path)},
          {"open_seconds", open_seconds},
          {"replay_seconds", replay_seconds},
          {"rows_per_second_batches_of_32", rate},
          {"ratio_to_1000_jobs", Median(ratios)}};
}

int Main(int argc, char** argv) {
  int jobs = 100'000;
  double seconds = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (absl::StartsWith(argument, "--jobs=")) {
      jobs = std::atoi(argument.c_str() + 7);
    } else if (absl::StartsWith(argument, "--seconds=")) {
      seconds = std::atof(argument.c_str() + 10);
    } else if (absl::StartsWith(argument, "--folder=")) {
      ::setenv("TMPDIR", argument.c_str() + 9, 1);
    } else {
      jobs = 0;
    }
  }
  if (jobs <= 0 || seconds <= 0) {
    std::fprintf(stderr, "usage: journal_bench [--jobs=100000] [--seconds=1] [--folder=/tmp]\n");
    return 2;
  }
  const TempFolder folder;
  const json result = {{"sqlite", sqlite3_libversion()},
                       {"append", AppendPart(folder.path(), seconds)},
                       {"growth", GrowthPart(folder.path(), jobs, seconds)}};
  std::printf("%s\n", result.dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  return ovi::Main(argc, argv);
}
