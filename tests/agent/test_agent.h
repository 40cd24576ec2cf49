// A real ovi-agent, as its own process, with a worker of the test's own: tests/agent/fake_worker.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "ovi/v1/node.pb.h"
#include "tests/temp_folder.h"

namespace ovi {

class TestAgent {
 public:
  // Of a node with `gpus` declared GPUs.
  explicit TestAgent(std::string coordinator, int gpus = 4);
  // Whatever still lives of it and its groups is killed.
  ~TestAgent();

  // Settings on top, "key=value"; for the next Start.
  std::vector<std::string> settings;

  void Start();
  void Signal(int signal) { process_->Kill(signal); }
  ExitStatus Wait();  // also keeps what it logged, see log()
  // SIGKILL, and waits.
  void Kill();

  const std::string& log() const { return log_; }
  pid_t pid() const { return process_->pid(); }
  const TempFolder& folder() const { return folder_; }
  std::string group_dir(const std::string& group_id) const { return folder_ / ("state/groups/" + group_id); }

  // Processes of that group: those that name its folder on their command line or in their environment.
  std::vector<pid_t> Processes(const std::string& group_id) const;
  bool AwaitNoProcess(const std::string& group_id) const;
  // Until a rank has printed `text`; false after half a minute.
  bool AwaitOutput(const std::string& group_id, const std::string& text) const;

 private:
  TempFolder folder_;
  std::string coordinator_;
  std::string log_;
  std::unique_ptr<Subprocess> process_;
};

// An order for ranks that do what `behaviour` says (fake_worker.cc).
v1::StartGroup Order(const std::string& group_id, int ranks, const std::string& behaviour);

}  // namespace ovi
