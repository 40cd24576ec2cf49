#include "tests/group/group_process.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/process_info.h"
#include "base/small_file.h"

namespace ovi {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::minutes kPatience{1};
constexpr std::chrono::milliseconds kPoll{5};

// As the agent sets them: one node, shared memory, no search for hardware that is not there.
constexpr const char* kSettings[] = {"OMPI_ALLOW_RUN_AS_ROOT=1",
                                     "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                     "OMPI_MCA_pml=ob1",
                                     "OMPI_MCA_btl=vader,self",
                                     "OMPI_MCA_btl_vader_single_copy_mechanism=none",
                                     "OMPI_MCA_osc=sm",
                                     "OMPI_MCA_mtl=^ofi,psm,psm2",
                                     "OMPI_MCA_plm=isolated",
                                     "OMPI_MCA_odls_base_sigkill_timeout=0",
                                     "OMPI_MCA_mpi_yield_when_idle=1",
                                     "PMIX_MCA_gds=hash",
                                     "OMP_WAIT_POLICY=passive"};

std::vector<std::string> EnvironmentOf(const std::string& mark, const std::string& folder) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (!text.starts_with("OMPI_") && !text.starts_with("PMIX_")) variables.emplace_back(text);
  }
  variables.insert(variables.end(), std::begin(kSettings), std::end(kSettings));
  variables.push_back(mark);
  // What a killed mpirun leaves goes with the folder.
  variables.push_back(absl::StrCat("OMPI_MCA_orte_tmpdir_base=", folder));
  variables.push_back(absl::StrCat("OMPI_MCA_btl_vader_backing_directory=", folder));
  return variables;
}

template <typename Condition>
bool WaitFor(const Condition& condition) {
  for (const auto deadline = steady_clock::now() + kPatience; steady_clock::now() < deadline;) {
    if (condition()) return true;
    std::this_thread::sleep_for(kPoll);
  }
  return condition();
}

}  // namespace

GroupFacts FactsFor(const FakeCoordinator& coordinator, int ranks) {
  GroupFacts facts{.group_id = "g12-1",
                   .node = "box-1",
                   .gpu_indices = {},
                   .bytes_per_rank = std::int64_t{64} << 20,
                   .model_name = "mini-ovi",
                   .models_dir = OVI_SOURCE_DIR "/configs/models",
                   .weights_dir = "",
                   .coordinator_address = coordinator.address(),
                   .idle_timeout_ms = 600'000,
                   .insecure = true,
                   .threads_per_rank = 1};
  for (int rank = 0; rank < ranks; ++rank) facts.gpu_indices.push_back(rank);
  return facts;
}

v1::JobSpec MiniJobSpec(int steps) {
  v1::JobSpec spec;
  spec.set_model_name("mini-ovi");
  spec.set_mode(v1::MODE_T2V);
  spec.set_text_prompt("A red circle moves right across a black background. Audio: a low steady tone.");
  spec.set_sample_steps(steps);
  spec.set_seed(7);
  return spec;
}

GroupProcess::GroupProcess(const GroupFacts& facts, int ranks, Launch launch) {
  OVI_CHECK(WriteGroupFiles(folder_.path(), facts, kGroupToken).ok());
  mark_ = absl::StrCat("OVI_TEST_GROUP=", folder_.path());
  std::vector<std::string> argv;
  if (launch == Launch::kMpirun) {
    argv = {OVI_MPIEXEC, "-np", absl::StrCat(ranks), "--oversubscribe", "--bind-to", "none"};
  }
  argv.insert(argv.end(), {OVI_WORKER, "group", "--group-dir", folder_.path()});
  SubprocessOptions options;
  options.stdout_stream = StandardStream::kNull;
  options.stderr_bytes_max = 1 << 20;
  options.dies_with_parent = true;
  options.environment = EnvironmentOf(mark_, folder_.path());
  absl::StatusOr<std::unique_ptr<Subprocess>> started = Subprocess::Start(argv, options);
  OVI_CHECK(started.ok());
  process_ = *std::move(started);
}

GroupProcess::~GroupProcess() {
  process_->Kill(SIGKILL);
  for (const pid_t pid : Living()) kill(pid, SIGKILL);
  process_->Wait();
  WaitUntilNothingLives();
}

ExitStatus GroupProcess::WaitForEnd() {
  if (WaitFor([this] { return process_->HasEnded(); })) return process_->Wait();
  return ExitStatus{.code = -2};
}

std::vector<pid_t> GroupProcess::RankPids() const {
  std::vector<pid_t> pids;
  for (const ProcessInfo& process : ListProcesses()) {
    if (process.parent == process_->pid()) pids.push_back(process.pid);
  }
  return pids;
}

std::vector<pid_t> GroupProcess::Living() const {
  std::vector<pid_t> pids;
  for (const ProcessInfo& process : ListProcesses()) {
    if (process.state != 'Z' && HasEnvironment(process.pid, mark_)) pids.push_back(process.pid);
  }
  return pids;
}

bool GroupProcess::WaitUntilNothingLives() const {
  return WaitFor([this] { return Living().empty(); });
}

double CpuSeconds(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"), 4096);
  OVI_CHECK(text.ok());
  std::istringstream fields(text->substr(text->rfind(')') + 2));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;  // fields count from 1; utime is the 14th
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace ovi
