#include "coordinator/journal/journal.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/journal/codec.h"
#include "coordinator/journal/lock_file.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite.h"

namespace ovi {
namespace {

enum class Found { kNothing, kJournal };

// What lies at `path`, before SQLite touches it: it would make a journal of an empty file.
absl::StatusOr<Found> LookAt(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return absl::FailedPreconditionError(path + ": is a folder, not a journal");
    if (!S_ISREG(info.st_mode)) return absl::FailedPreconditionError(path + ": is not a regular file");
    if (info.st_size == 0)
      return absl::DataLossError(path + ": is empty; remove it to begin anew without jobs");
    return Found::kJournal;
  }
  if (errno != ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": cannot open: ", std::generic_category().message(errno)));
  }
  if (::stat((path + "-wal").c_str(), &info) == 0 && info.st_size > 0) {
    return absl::DataLossError(
        absl::StrCat(path, ": is missing, but ", path,
                     "-wal is there with changes of it; restore it, or remove that file too"));
  }
  return Found::kNothing;
}

// So that two names of one file have one lock.
absl::StatusOr<std::string> RealPath(const std::string& path) {
  std::error_code error;
  // weakly_canonical alone leaves a relative path relative when nothing of it exists.
  const std::filesystem::path real =
      std::filesystem::weakly_canonical(std::filesystem::current_path(error) / path, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat(path, ": cannot open: ", error.message()));
  if (!std::filesystem::is_directory(real.parent_path(), error)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": its folder does not exist"));
  }
  return real.string();
}

}  // namespace

// In the order they must be made; destroyed the other way round.
struct Journal::Parts {
  LockFile lock;
  std::unique_ptr<SqliteDatabase> database;
  SqliteStatement insert, forget, set_next_job;
};

Journal::Journal(std::unique_ptr<Parts> parts, core::JobId next_job, std::string cluster_id)
    : parts_(std::move(parts)), next_job_(next_job), cluster_id_(std::move(cluster_id)) {}

Journal::~Journal() = default;

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(const std::string real_path, RealPath(path));
  OVI_ASSIGN_OR_RETURN(LockFile lock, LockFile::Acquire(real_path + ".lock", path));
  OVI_ASSIGN_OR_RETURN(const Found found, LookAt(real_path));
  if (found == Found::kNothing) OVI_RETURN_IF_ERROR(CreateJournalFile(real_path));
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> database,
                       SqliteDatabase::Open(real_path, SqliteOpen::kExisting));
  OVI_RETURN_IF_ERROR(PrepareJournal(*database));

  OVI_ASSIGN_OR_RETURN(const core::JobId kept_next_job,
                       database->QueryNumber("SELECT value FROM meta WHERE key = 'next_job'"));
  OVI_ASSIGN_OR_RETURN(const core::JobId last_job,
                       database->QueryNumber("SELECT coalesce(max(job), 0) FROM events"));
  OVI_ASSIGN_OR_RETURN(std::string cluster_id,
                       database->QueryText("SELECT value FROM meta WHERE key = 'cluster_id'"));
  OVI_ASSIGN_OR_RETURN(
      SqliteStatement insert,
      database->Prepare("INSERT INTO events(job, kind, payload, checksum) VALUES (?1, ?2, ?3, ?4)"));
  OVI_ASSIGN_OR_RETURN(SqliteStatement forget, database->Prepare("DELETE FROM events WHERE job = ?1"));
  OVI_ASSIGN_OR_RETURN(SqliteStatement set_next_job,
                       database->Prepare("UPDATE meta SET value = ?1 WHERE key = 'next_job'"));
  return std::unique_ptr<Journal>(
      new Journal(std::unique_ptr<Parts>(new Parts{std::move(lock), std::move(database), std::move(insert),
                                                   std::move(forget), std::move(set_next_job)}),
                  std::max(kept_next_job, last_job + 1), std::move(cluster_id)));
}

absl::Status Journal::Replay(const std::function<absl::Status(const core::Change&)>& apply) {
  SqliteDatabase& database = *parts_->database;
  OVI_ASSIGN_OR_RETURN(SqliteStatement rows,
                       database.Prepare("SELECT seq, job, kind, payload, checksum FROM events ORDER BY seq"));
  for (;;) {
    OVI_ASSIGN_OR_RETURN(const bool found, rows.Next());
    if (!found) return absl::OkStatus();
    const core::JobId job = rows.Number(1);
    const auto apply_row = [&]() -> absl::Status {
      const int kind = static_cast<int>(rows.Number(2));
      if (ChecksumOf(job, kind, rows.Blob(3)) != rows.Number(4)) {
        return absl::DataLossError("is not what was written: its checksum differs");
      }
      OVI_ASSIGN_OR_RETURN(const core::Change change, DecodeChange(kind, rows.Blob(3)));
      return apply(change);
    };
    if (const absl::Status status = apply_row(); !status.ok()) {
      return Annotate(status, absl::StrCat(database.path(), ": row ", rows.Number(0), " (job ", job, ")"));
    }
  }
}

absl::Status Journal::Write(std::span<const core::Change> changes, core::JobId* next_job) {
  bool forgets = false;
  for (const core::Change& change : changes) {
    const JournalRow row = EncodeChange(change);
    *next_job = std::max(*next_job, row.job + 1);
    const bool forgotten = std::holds_alternative<core::JobForgotten>(change);
    forgets |= forgotten;
    SqliteStatement& statement = forgotten ? parts_->forget : parts_->insert;
    statement.Bind(1, row.job);
    if (!forgotten) {
      statement.Bind(2, row.kind);
      statement.BindBlob(3, row.payload);
      statement.Bind(4, ChecksumOf(row.job, row.kind, row.payload));
    }
    OVI_RETURN_IF_ERROR(statement.Run());
  }
  if (!forgets) return absl::OkStatus();
  parts_->set_next_job.Bind(1, *next_job);
  return parts_->set_next_job.Run();
}

absl::Status Journal::Append(std::span<const core::Change> changes) {
  if (changes.empty()) return absl::OkStatus();
  const auto begin = std::chrono::steady_clock::now();
  core::JobId next_job = next_job_;
  OVI_RETURN_IF_ERROR(InTransaction(*parts_->database, [&] { return Write(changes, &next_job); }));
  next_job_ = next_job;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  const std::lock_guard lock(stats_mutex_);
  stats_.rows += static_cast<std::int64_t>(changes.size());
  stats_.commits += 1;
  stats_.commit_seconds_sum += seconds.count();
  stats_.commit_seconds_last = seconds.count();
  return absl::OkStatus();
}

JournalStats Journal::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

}  // namespace ovi
