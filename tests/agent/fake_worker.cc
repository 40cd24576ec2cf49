// Stands for ovi-worker in the agent's tests: `fake_worker group --group-dir DIR` does what the group's
// coordinator_address says:
//
//   exit CODE      ends with it
//   die SIGNAL     of it
//   wait           until a signal ends it
//   polite         until SIGTERM, then says "saved" and ends with 0
//   stubborn       ignores SIGTERM
//   family         starts a child that leaves the session, forgets the environment and ignores SIGTERM; then
//   as wait print LINES    that many lines of 100 bytes, and ends environment    prints it, its arguments and
//   the group's token file's mode, and ends mpi            MPI_Init, a barrier, then as wait
//
// Every rank that stays says "rank R of N ready".
#include <mpi.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "worker/group/group_files.h"

namespace {

void SayReady() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  std::printf("rank %s of %s ready\n", rank != nullptr ? rank : "0", size != nullptr ? size : "1");
  std::fflush(stdout);
}

[[noreturn]] void WaitForEver() {
  for (;;) ::pause();
}

void StartFamily() {
  if (::fork() != 0) return;
  ::setsid();
  ::signal(SIGTERM, SIG_IGN);
  char* const argv[] = {const_cast<char*>("sleep"), const_cast<char*>("3600"), nullptr};
  char* const no_environment[] = {nullptr};
  ::execve("/bin/sleep", argv, no_environment);
  ::_exit(127);
}

int Behave(const std::string& behaviour, const std::string& dir, int argc, char** argv) {
  const std::string word = behaviour.substr(0, behaviour.find(' '));
  const int number = word.size() < behaviour.size() ? std::atoi(behaviour.c_str() + word.size()) : 0;
  if (word == "exit") return number;
  if (word == "die") {
    ::raise(number);
  } else if (word == "polite") {
    ::signal(SIGTERM, [](int) {
      [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, "saved\n", 6);
      ::_exit(0);
    });
  } else if (word == "stubborn") {
    ::signal(SIGTERM, SIG_IGN);
  } else if (word == "family") {
    StartFamily();
  } else if (word == "print") {
    for (int i = 0; i < number; ++i) std::printf("%099d\n", i);
    return 0;
  } else if (word == "environment") {
    for (char** variable = environ; *variable != nullptr; ++variable) std::printf("%s\n", *variable);
    for (int i = 0; i < argc; ++i) std::printf("argument %s\n", argv[i]);
    struct stat info {};
    ::stat((dir + "/token").c_str(), &info);
    std::printf("token mode %o\n", static_cast<unsigned>(info.st_mode & 0777));
    return 0;
  } else if (word == "mpi") {
    if (MPI_Init(nullptr, nullptr) != MPI_SUCCESS || MPI_Barrier(MPI_COMM_WORLD) != MPI_SUCCESS) return 70;
  }
  SayReady();
  WaitForEver();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || std::string(argv[1]) != "group" || std::string(argv[2]) != "--group-dir") return 64;
  const absl::StatusOr<ovi::GroupFacts> facts = ovi::ReadGroupFacts(argv[3]);
  if (!facts.ok()) return 65;
  return Behave(facts->coordinator_address, argv[3], argc, argv);
}
