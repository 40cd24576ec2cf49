// A group as its agent starts it: mpirun with real ranks, in a folder of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "ovi/v1/job.pb.h"
#include "tests/group/fake_coordinator.h"
#include "tests/temp_folder.h"
#include "worker/group/group_files.h"

namespace ovi {

inline constexpr char kGroupToken[] = "0123456789abcdef0123456789abcdef";

// Of mini-ovi, for a coordinator there. `ranks` GPUs, memory for every clip, patience for every test.
GroupFacts FactsFor(const FakeCoordinator& coordinator, int ranks);
// A job of mini-ovi.
v1::JobSpec MiniJobSpec(int steps);

class GroupProcess {
 public:
  enum class Launch { kMpirun, kAlone };

  // `ranks`: of mpirun, whatever the facts say.
  GroupProcess(const GroupFacts& facts, int ranks, Launch launch = Launch::kMpirun);
  // Whatever still lives of it is killed.
  ~GroupProcess();

  // Of what was started (mpirun, or the rank itself). Gives up after a minute: exit code -2.
  ExitStatus WaitForEnd();
  void Signal(int signal) { process_->Kill(signal); }
  // Once it has ended.
  const std::string& log() const { return process_->stderr_tail(); }

  // The ranks' processes, in no order.
  std::vector<pid_t> RankPids() const;
  // All that lives of it: ranks, and what they have started. False when some of it stayed for a minute.
  std::vector<pid_t> Living() const;
  bool WaitUntilNothingLives() const;

  const TempFolder& folder() const { return folder_; }

 private:
  TempFolder folder_;
  std::string mark_;  // in the environment of all its processes
  std::unique_ptr<Subprocess> process_;
};

// CPU seconds that a process has taken so far.
double CpuSeconds(pid_t pid);

}  // namespace ovi
