// core::Change <-> the bytes of a journal row (change.proto). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/core/change.h"

namespace ovi {

struct JournalRow {
  core::JobId job = 0;  // 0 for what concerns no job
  int kind = 0;         // number of the change's field in message Change
  std::string payload;
  bool operator==(const JournalRow&) const = default;
};

// Any change there is; enums must be among their named values.
JournalRow EncodeChange(const core::Change& change);

// The change that was encoded. DATA_LOSS for bytes that EncodeChange never made, and for a kind or a word of
// an enum that is unknown (written by a newer version).
absl::StatusOr<core::Change> DecodeChange(int kind, std::string_view payload);

// 0 for what concerns no job.
core::JobId JobOf(const core::Change& change);

// Differs when one byte of a row does; SQLite itself would not notice. The same on little-endian machines
// only.
std::int64_t ChecksumOf(core::JobId job, int kind, std::string_view payload);

}  // namespace ovi
