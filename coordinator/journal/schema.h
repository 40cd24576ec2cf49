// The journal's file: its tables, how a new one is made, how an old one becomes a current one.
//
//   events  one row a change, in the order they happened; its columns are those of codec.h
//   meta    next_job: no job that was forgotten had this id or a higher one
//           cluster_id: random, made with the file; created_ms
//
// Version 1 had no column job, so the rows of forgotten jobs stayed for ever. Version 2 has it, and drops
// them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "coordinator/journal/sqlite.h"

namespace ovi {

inline constexpr int kJournalVersion = 2;
// PRAGMA application_id ("OviJ"): tells a journal from any other SQLite database.
inline constexpr int kJournalApplicationId = 0x4F76694A;

// Makes an empty journal at `path`, readable for its owner only. It appears whole or not at all, whenever we
// die, so an empty file is never a young journal. The folder must exist, `path` must not.
absl::Status CreateJournalFile(const std::string& path);

// Makes an open database ready for use: FAILED_PRECONDITION for one that is no journal or of a newer version,
// DATA_LOSS when SQLite finds it corrupt; older ones are migrated in one transaction.
absl::Status PrepareJournal(SqliteDatabase& database);

}  // namespace ovi
