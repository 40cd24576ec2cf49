// The program under test as a child process, in an environment of its own.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/subprocess.h"
#include "tests/temp_folder.h"

namespace ovi::client {

struct OvictlRun {
  int exit_code = -1;  // -1 where it was killed or did not end in time
  std::string out;
  std::string err;  // its last 8 KB
};

// Where ovictl runs: nothing of the caller's environment but PATH; an empty home; OVI_COORDINATOR as given.
class OvictlHome {
 public:
  explicit OvictlHome(const std::string& coordinator);

  const TempFolder& folder() const { return folder_; }
  // Replaces or adds a variable; "" removes it.
  void Set(const std::string& name, const std::string& value);

  // argv of `ovictl args...` in this environment.
  std::vector<std::string> Argv(const std::vector<std::string>& args) const;
  // Runs it to its end.
  OvictlRun Run(const std::vector<std::string>& args) const;
  // Starts it, with its stdout in a pipe.
  std::unique_ptr<Subprocess> Start(const std::vector<std::string>& args) const;

 private:
  TempFolder folder_;
  std::vector<std::pair<std::string, std::string>> environment_;
};

// Reads from `fd` until `text` has appeared, or to the end; all that was read.
std::string ReadUntil(int fd, const std::string& text);

std::vector<std::string> LinesOf(const std::string& text);

}  // namespace ovi::client
