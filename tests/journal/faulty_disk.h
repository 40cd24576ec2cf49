// A disk that fails on demand: it stands between this program, SQLite included, and pwrite and fdatasync.
#pragma once

namespace ovi::test {

enum class Disk { kWorks, kFull, kCannotSync };

// From now on, for the whole program, until it is destroyed.
class FaultyDisk {
 public:
  explicit FaultyDisk(Disk disk);
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;
};

// Calls of fdatasync that worked, since the program began.
int SyncCount();

}  // namespace ovi::test
