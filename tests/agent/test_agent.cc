#include "tests/agent/test_agent.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/process_info.h"
#include "base/small_file.h"
#include "tests/sanitizer_reports.h"
#include "worker/agent/process_tree.h"

namespace ovi {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kDeadline{30};
// /proc and log files tell nobody when they change.
constexpr std::chrono::milliseconds kLook{10};

bool AwaitThat(const std::function<bool()>& there) {
  const auto deadline = Clock::now() + kDeadline;
  while (!there()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

}  // namespace

TestAgent::TestAgent(std::string coordinator, int gpus) : coordinator_(std::move(coordinator)) {
  std::string yaml = absl::StrCat("name: box\nstate_dir: state\ninsecure: true\nmodels_dir: ", OVI_SOURCE_DIR,
                                  "/configs/models\ngroups:\n  worker: ", OVI_FAKE_WORKER, "\ngpus:\n");
  for (int i = 0; i < gpus; ++i) absl::StrAppend(&yaml, "  - {name: declared, vram: 600 MB}\n");
  folder_.Write("agent.yaml", yaml);
}

TestAgent::~TestAgent() {
  if (process_ != nullptr) Kill();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "state/groups", error)) {
    for (const pid_t pid : Processes(entry.path().filename())) ::kill(pid, SIGKILL);
  }
  EXPECT_EQ(SanitizerReports(folder_.path()), "");
}

void TestAgent::Start() {
  std::vector<std::string> argv = {OVI_AGENT, "--config", folder_ / "agent.yaml", "--coordinator",
                                   coordinator_};
  for (const std::string& setting : settings) argv.insert(argv.end(), {"--set", setting});
  // Its log goes to a file: its groups hold its stderr open after it has been killed.
  argv.insert(argv.end(), {"--set", "log.file=" + folder_ / "agent.log"});
  auto process = Subprocess::Start(argv, {.stderr_stream = StandardStream::kInherit,
                                          .own_process_group = true,
                                          .environment = ReportingEnvironment(folder_.path())});
  ASSERT_TRUE(process.ok()) << process.status();
  process_ = *std::move(process);
}

ExitStatus TestAgent::Wait() {
  const ExitStatus status = process_->Wait();
  process_.reset();
  log_ = ReadSmallFile(folder_ / "agent.log", 64 << 20).value_or("");
  return status;
}

void TestAgent::Kill() {
  process_->Kill(SIGKILL);
  Wait();
}

std::vector<pid_t> TestAgent::Processes(const std::string& group_id) const {
  std::vector<pid_t> pids;
  for (const ProcessInfo& process : ListProcesses()) {
    if (process.state == 'Z') continue;
    const std::string command =
        ReadSmallFile(absl::StrCat("/proc/", process.pid, "/cmdline"), 1 << 20).value_or("");
    const bool named = command.find(group_dir(group_id) + '\0') != std::string::npos;
    if (named || HasEnvironment(process.pid, GroupMark(group_dir(group_id)))) pids.push_back(process.pid);
  }
  return pids;
}

bool TestAgent::AwaitNoProcess(const std::string& group_id) const {
  return AwaitThat([&] { return Processes(group_id).empty(); });
}

bool TestAgent::AwaitOutput(const std::string& group_id, const std::string& text) const {
  return AwaitThat([&] {
    const auto output = ReadSmallFile(group_dir(group_id) + "/output.log", 64 << 20);
    return output.ok() && output->find(text) != std::string::npos;
  });
}

v1::StartGroup Order(const std::string& group_id, int ranks, const std::string& behaviour) {
  v1::StartGroup order;
  order.set_group_id(group_id);
  order.set_token("secret-of-" + group_id);
  for (int i = 0; i < ranks; ++i) order.add_gpu_indices(i);
  order.set_bytes_per_rank(100 << 20);
  order.set_model_name("mini-ovi");
  order.set_coordinator_address(behaviour);
  order.set_idle_timeout_ms(60'000);
  return order;
}

}  // namespace ovi
