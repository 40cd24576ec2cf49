// SQLite as far as the journal needs it: a connection, statements, errors as absl::Status. The messages name
// the file.
//
// Codes: RESOURCE_EXHAUSTED disk full; DATA_LOSS corrupt, or no database; UNAVAILABLE the disk fails, or
// another process holds the database; FAILED_PRECONDITION it cannot be opened or written; INTERNAL a table
// that is not there, or a bug of ours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace ovi {

class SqliteStatement;

enum class SqliteOpen { kExisting, kCreate };

// Thread-compatible. Statements must go first.
class SqliteDatabase {
 public:
  // A database that exists is opened for writing, or not at all.
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path, SqliteOpen mode);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // One or more statements; rows they give are dropped.
  absl::Status Execute(const std::string& sql);
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);
  // First column of the one row that `sql` gives; DATA_LOSS when it gives none.
  absl::StatusOr<std::int64_t> QueryNumber(std::string_view sql);
  absl::StatusOr<std::string> QueryText(std::string_view sql);

  // Undoes the transaction that is open, if there is one.
  void Rollback();

  const std::string& path() const { return path_; }

 private:
  friend class SqliteStatement;
  SqliteDatabase(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
  absl::Status Error(int code) const;

  std::string path_;
  sqlite3* handle_;
};

// A prepared statement. Move-only; must not outlive its database.
class SqliteStatement {
 public:
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) = delete;
  ~SqliteStatement();

  // Parameters count from 1 and keep their values. Blobs are not copied: they must live until Run returns.
  void Bind(int parameter, std::int64_t value);
  void BindBlob(int parameter, std::string_view bytes);

  // To its end, ready to be run again. For statements that give no rows.
  absl::Status Run();
  // The next row, or false after the last one.
  absl::StatusOr<bool> Next();

  // Of the current row; columns count from 0. The view is good until the next call.
  std::int64_t Number(int column) const;
  std::string_view Blob(int column) const;

 private:
  friend class SqliteDatabase;
  SqliteStatement(const SqliteDatabase& database, sqlite3_stmt* handle)
      : database_(&database), handle_(handle) {}

  const SqliteDatabase* database_;
  sqlite3_stmt* handle_;
};

// `work()` in a transaction: all of it or nothing. The disk has it when this returns OK.
template <typename Work>
absl::Status InTransaction(SqliteDatabase& database, const Work& work) {
  absl::Status status = database.Execute("BEGIN IMMEDIATE");
  if (status.ok()) status = work();
  if (status.ok()) status = database.Execute("COMMIT");
  if (!status.ok()) database.Rollback();
  return status;
}

}  // namespace ovi
