// The journal: every change of a job on disk before anybody is told of it (SQLite, write-ahead log).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/change.h"

namespace ovi {

class SqliteDatabase;
class SqliteStatement;
class LockFile;

// Since it was opened.
struct JournalStats {
  std::int64_t rows = 0;     // written
  std::int64_t commits = 0;  // one fsync each
  double commit_seconds_sum = 0;
  double commit_seconds_last = 0;
};

// One thread uses it (the controller's); stats() may be asked from any.
class Journal {
 public:
  // Opens `path`, or makes a new journal there when nothing is and its folder exists. `path`.lock keeps a
  // second coordinator out. Never repairs, never replaces. Errors name the file:
  //   FAILED_PRECONDITION  in use by another process; no such folder; a folder, not readable, not writable;
  //                        no journal of ours, or of a newer version
  //   DATA_LOSS            corrupt, empty, not a database, or gone while its write-ahead log is still there
  //   RESOURCE_EXHAUSTED, UNAVAILABLE  the disk is full, fails
  //   INTERNAL             somebody changed its tables
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // All changes, in the order they were appended, without those of forgotten jobs. Stops at the first error,
  // `apply`'s or DATA_LOSS for a row that cannot be read; the message names file, row and job.
  absl::Status Replay(const std::function<absl::Status(const core::Change&)>& apply);

  // One transaction: all of them are on disk when this returns OK, none of them after an error
  // (RESOURCE_EXHAUSTED disk full, UNAVAILABLE disk fails). After an error it may be tried again.
  // JobForgotten is not kept: it removes the job's rows.
  absl::Status Append(std::span<const core::Change> changes);

  // Above every job id that was ever appended, forgotten ones included: what State::next_job must be after
  // Replay, so that no id is used twice.
  core::JobId next_job() const { return next_job_; }
  // 32 hex digits, made with the file.
  const std::string& cluster_id() const { return cluster_id_; }
  JournalStats stats() const;

 private:
  struct Parts;
  Journal(std::unique_ptr<Parts> parts, core::JobId next_job, std::string cluster_id);
  absl::Status Write(std::span<const core::Change> changes, core::JobId* next_job);

  std::unique_ptr<Parts> parts_;
  core::JobId next_job_;
  std::string cluster_id_;

  mutable std::mutex stats_mutex_;
  JournalStats stats_;
};

}  // namespace ovi
