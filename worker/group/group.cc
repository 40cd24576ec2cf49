#include "worker/group/group.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "worker/group/coordinator_link.h"
#include "worker/group/follower.h"
#include "worker/group/group_files.h"
#include "worker/group/leader.h"
#include "worker/group/mpi_session.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/pipeline/check_weights.h"
#include "worker/pipeline/weights_form.h"
#include "worker/plan/clip_settler.h"

namespace ovi {
namespace {

using std::chrono::steady_clock;

constexpr int kProtocolVersion = 1;

// A rank outlives neither mpirun nor a SIGTERM: nothing it could still do would help anybody, and ranks
// before MPI_Init, as well as those of a killed mpirun, would stay.
void EndWithParent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) raise(SIGKILL);  // it ended just before
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

v1::GroupHello HelloOf(const GroupFacts& facts, int world_size) {
  v1::GroupHello hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_group_id(facts.group_id);
  hello.set_node(facts.node);
  for (const int index : facts.gpu_indices) hello.add_gpu_indices(index);
  hello.set_bytes_per_rank(facts.bytes_per_rank);
  hello.set_model_name(facts.model_name);
  hello.set_world_size(world_size);
  return hello;
}

absl::Status CheckWorldSize(int size, const GroupFacts& facts) {
  if (static_cast<int>(facts.gpu_indices.size()) != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_indices names ", facts.gpu_indices.size(), " GPUs for ", size, " ranks"));
  }
  return absl::OkStatus();
}

void SetThreads(const GroupFacts& facts, const MpiSession& session) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int share = std::max(1, cores / session.ranks_on_node());
  cpu::SetThreadCount(facts.threads_per_rank > 0 ? facts.threads_per_rank : share);
}

absl::StatusOr<ModelFolder> OpenModel(const GroupFacts& facts) {
  OVI_ASSIGN_OR_RETURN(ModelFolder model,
                       FindModel({.folder = "", .name = facts.model_name, .ckpt_dir = facts.weights_dir},
                                 facts.models_dir.empty() ? DefaultModelsDir() : facts.models_dir));
  OVI_RETURN_IF_ERROR(CheckWeights(model));
  return model;
}

// One rank with all that stays from job to job.
class Rank {
 public:
  Rank(const GroupOptions& options, MpiSession& session) : options_(options), session_(session) {}

  absl::Status Prepare() {
    OVI_ASSIGN_OR_RETURN(facts_, ReadGroupFacts(options_.group_dir));
    if (session_.rank() == 0) {
      OVI_ASSIGN_OR_RETURN(token_, ReadGroupToken(options_.group_dir));
    }
    OVI_RETURN_IF_ERROR(CheckWorldSize(session_.size(), facts_));
    SetThreads(facts_, session_);
    OVI_ASSIGN_OR_RETURN(ModelFolder model, OpenModel(facts_));
    OVI_ASSIGN_OR_RETURN(low_rank_, LowRankOf(model));
    backend_ = MakeCpuBackend();
    OVI_ASSIGN_OR_RETURN(world_, NewMpiCommunicator({}));
    OVI_ASSIGN_OR_RETURN(engine_, Engine::Create(*backend_, facts_.bytes_per_rank, std::move(model)));
    settler_ = std::make_unique<ClipSettler>(engine_->model(), facts_.bytes_per_rank);
    return absl::OkStatus();
  }

  absl::StatusOr<v1::GroupExitCode> Serve() {
    if (session_.rank() != 0)
      return Follower({session_, *world_, *engine_, *settler_, facts_, low_rank_}).Follow();
    CoordinatorLink link({.address = facts_.coordinator_address,
                          .token = token_,
                          .insecure = facts_.insecure,
                          .hello = HelloOf(facts_, session_.size()),
                          .idle_max = std::chrono::milliseconds(facts_.idle_timeout_ms)});
    return Leader({session_, *world_, link, *engine_, *settler_, facts_, options_.group_dir, low_rank_})
        .Lead();
  }

  const GroupFacts& facts() const { return facts_; }

 private:
  const GroupOptions& options_;
  MpiSession& session_;
  GroupFacts facts_;
  std::string token_;
  std::int64_t low_rank_ = kDefaultRank;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> world_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ClipSettler> settler_;
};

v1::GroupExitCode ExitCodeOf(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ? v1::GROUP_EXIT_CODE_OUT_OF_MEMORY
                                           : v1::GROUP_EXIT_CODE_BAD_INPUT;
}

double MsSince(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count();
}

int RunRank(const GroupOptions& options, MpiSession& session, steady_clock::time_point begin) {
  const double mpi_ms = MsSince(begin);
  Rank rank(options, session);
  if (const absl::Status status = rank.Prepare(); !status.ok()) {
    Log(LogLevel::kError, "group cannot start", {{"rank", session.rank()}, {"reason", status.message()}});
    // The others may have found nothing wrong.
    if (session.size() > 1) session.Abort(ExitCodeOf(status));
    return ExitCodeOf(status);
  }
  Log(LogLevel::kInfo, "rank ready",
      {{"group", rank.facts().group_id},
       {"rank", session.rank()},
       {"ranks", session.size()},
       {"threads", cpu::ThreadCount()},
       {"mpi_ms", mpi_ms},
       {"ready_ms", MsSince(begin)}});
  const absl::StatusOr<v1::GroupExitCode> code = rank.Serve();
  if (code.ok()) return *code;
  Log(LogLevel::kError, "a rank is lost", {{"rank", session.rank()}, {"reason", code.status().message()}});
  session.Abort(v1::GROUP_EXIT_CODE_PEER_LOST);
}

}  // namespace

int RunGroup(const GroupOptions& options) {
  EndWithParent();
  const steady_clock::time_point begin = steady_clock::now();
  absl::StatusOr<std::unique_ptr<MpiSession>> started = MpiSession::Start();
  if (!started.ok()) {
    Log(LogLevel::kError, "group cannot start", {{"reason", started.status().message()}});
    return v1::GROUP_EXIT_CODE_FAILED;
  }
  MpiSession& session = **started;
  try {
    return RunRank(options, session, begin);
  } catch (const std::exception& error) {  // host memory, above all
    Log(LogLevel::kError, "rank failed", {{"rank", session.rank()}, {"reason", error.what()}});
    session.Abort(v1::GROUP_EXIT_CODE_FAILED);  // the others would wait for this one
  }
}

}  // namespace ovi
