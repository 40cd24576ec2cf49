#include "tests/journal/faulty_disk.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace ovi::test {
namespace {

std::atomic<Disk> the_disk = Disk::kWorks;
std::atomic<int> syncs = 0;

}  // namespace

FaultyDisk::FaultyDisk(Disk disk) {
  the_disk = disk;
}
FaultyDisk::~FaultyDisk() {
  the_disk = Disk::kWorks;
}

int SyncCount() {
  return syncs;
}

}  // namespace ovi::test

// A program's own functions go before those of libc, also for the libraries it loads. SQLite uses these two.
extern "C" {

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  if (ovi::test::the_disk == ovi::test::Disk::kFull) {
    errno = ENOSPC;
    return -1;
  }
  return ::syscall(SYS_pwrite64, fd, bytes, count, offset);
}

int fdatasync(int fd) {
  if (ovi::test::the_disk == ovi::test::Disk::kCannotSync) {
    errno = EIO;
    return -1;
  }
  const auto result = static_cast<int>(::syscall(SYS_fdatasync, fd));
  if (result == 0) ++ovi::test::syncs;
  return result;
}

}  // extern "C"
