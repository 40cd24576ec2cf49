#include "coordinator/journal/sqlite.h"

#include <sqlite3.h>

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

// Nobody else writes (lock_file.h); a person with the sqlite3 shell may hold it for a moment.
constexpr int kBusyMsMax = 1000;

absl::StatusCode CodeOf(int code) {
  switch (code & 0xFF) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return absl::StatusCode::kDataLoss;
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status NoAnswer(const std::string& path, std::string_view sql) {
  return absl::DataLossError(
      absl::StrCat(path, ": has no answer to ", absl::string_view(sql.data(), sql.size())));
}

}  // namespace

absl::Status SqliteDatabase::Error(int code) const {
  const int extended = handle_ == nullptr ? code : sqlite3_extended_errcode(handle_);
  std::string message =
      absl::StrCat(path_, ": ", handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_));
  const bool from_system = (code & 0xFF) == SQLITE_IOERR || (code & 0xFF) == SQLITE_CANTOPEN;
  const int error = handle_ == nullptr || !from_system ? 0 : sqlite3_system_errno(handle_);
  if (error != 0) absl::StrAppend(&message, ": ", std::generic_category().message(error));
  absl::StrAppend(&message, " (SQLite error ", extended, ")");
  return absl::Status(CodeOf(code), message);
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path,
                                                                     SqliteOpen mode) {
  sqlite3* handle = nullptr;
  // One thread uses it, so SQLite need not lock.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (mode == SqliteOpen::kCreate ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  auto database = std::unique_ptr<SqliteDatabase>(new SqliteDatabase(path, handle));
  if (code != SQLITE_OK) return database->Error(code);
  // SQLite opens what it may not write for reading, silently.
  if (sqlite3_db_readonly(handle, "main") != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": cannot be written, only read"));
  }
  sqlite3_busy_timeout(handle, kBusyMsMax);
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  OVI_CHECK(sqlite3_close(handle_) == SQLITE_OK);  // else a statement is still alive
}

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<SqliteStatement> SqliteDatabase::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  return SqliteStatement(*this, statement);
}

absl::StatusOr<std::int64_t> SqliteDatabase::QueryNumber(std::string_view sql) {
  OVI_ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  OVI_ASSIGN_OR_RETURN(const bool found, statement.Next());
  if (!found) return NoAnswer(path_, sql);
  return statement.Number(0);
}

absl::StatusOr<std::string> SqliteDatabase::QueryText(std::string_view sql) {
  OVI_ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  OVI_ASSIGN_OR_RETURN(const bool found, statement.Next());
  if (!found) return NoAnswer(path_, sql);
  return std::string(statement.Blob(0));
}

void SqliteDatabase::Rollback() {
  // After a full disk SQLite may have rolled back by itself. A rollback that fails leaves nothing to be done:
  // the next BEGIN says so.
  if (sqlite3_get_autocommit(handle_) == 0) sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
}

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_), handle_(std::exchange(other.handle_, nullptr)) {}

SqliteStatement::~SqliteStatement() {
  sqlite3_finalize(handle_);
}

void SqliteStatement::Bind(int parameter, std::int64_t value) {
  OVI_CHECK(sqlite3_bind_int64(handle_, parameter, value) == SQLITE_OK);
}

void SqliteStatement::BindBlob(int parameter, std::string_view bytes) {
  const char* data = bytes.data() == nullptr ? "" : bytes.data();  // a null pointer would bind NULL
  OVI_CHECK(sqlite3_bind_blob64(handle_, parameter, data, bytes.size(), SQLITE_STATIC) == SQLITE_OK);
}

absl::Status SqliteStatement::Run() {
  const int code = sqlite3_step(handle_);
  absl::Status status = code == SQLITE_DONE || code == SQLITE_ROW ? absl::OkStatus() : database_->Error(code);
  sqlite3_reset(handle_);
  return status;
}

absl::StatusOr<bool> SqliteStatement::Next() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  const absl::Status status = code == SQLITE_DONE ? absl::OkStatus() : database_->Error(code);
  sqlite3_reset(handle_);
  if (!status.ok()) return status;
  return false;
}

std::int64_t SqliteStatement::Number(int column) const {
  return sqlite3_column_int64(handle_, column);
}

std::string_view SqliteStatement::Blob(int column) const {
  const void* data = sqlite3_column_blob(handle_, column);
  const int bytes = sqlite3_column_bytes(handle_, column);
  return data == nullptr ? std::string_view()
                         : std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(bytes));
}

}  // namespace ovi
