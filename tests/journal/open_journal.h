// Journals that must open and replay.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "coordinator/journal/journal.h"

namespace ovi::test {

inline std::unique_ptr<Journal> MustOpen(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path);
  EXPECT_TRUE(journal.ok()) << journal.status();
  OVI_CHECK(journal.ok());
  return *std::move(journal);
}

inline std::vector<core::Change> Replayed(Journal& journal) {
  std::vector<core::Change> changes;
  const absl::Status status = journal.Replay([&changes](const core::Change& change) {
    changes.push_back(change);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return changes;
}

}  // namespace ovi::test
