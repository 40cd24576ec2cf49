#include "worker/agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/status.h"
#include "worker/agent/agent_setup.h"
#include "worker/job/job_proto.h"
#include "worker/pipeline/check_weights.h"
#include "worker/pipeline/weights_form.h"
#include "worker/plan/memory_need.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr int kProtocolVersion = 1;
constexpr int kExitRefused = 2;
constexpr milliseconds kStopGrace{2'000};
constexpr milliseconds kStopGraceMax{60'000};
constexpr milliseconds kFarewellPatience{1'000};
constexpr milliseconds kDriverPatience{2'000};
constexpr milliseconds kReportPauseMin{100};
constexpr milliseconds kReportPauseMax{600'000};
constexpr std::int64_t kLogBytesMax = 1 << 20;

// Of a node with so many GPUs, and with these shares where they are not all alike.
absl::StatusOr<std::vector<v1::MemoryNeed>> NeedsOf(const ModelFolder& model, int gpus,
                                                    const std::vector<int>& shares) {
  OVI_RETURN_IF_ERROR(CheckWeights(model));  // plans follow from the configuration and read no file
  OVI_ASSIGN_OR_RETURN(const std::int64_t low_rank, LowRankOf(model));
  OVI_ASSIGN_OR_RETURN(const std::vector<ModelMemoryNeed> needs,
                       MemoryNeedsOf(model, gpus, shares, low_rank));
  std::vector<v1::MemoryNeed> out;
  for (const ModelMemoryNeed& need : needs) {
    v1::MemoryNeed& told = out.emplace_back();
    told.set_world_size(need.world_size);
    told.set_fsdp(need.fsdp);
    told.set_vram_mode(ToProto(need.vram_mode));
    told.set_as_executed_bytes(need.as_executed_bytes);
    told.set_reference_bytes(need.reference_bytes);
    told.set_low_rank_bytes(need.low_rank_bytes);
    told.set_as_executed_bytes_useful(need.as_executed_bytes_useful);
    told.set_low_rank_bytes_useful(need.low_rank_bytes_useful);
  }
  return out;
}

// Where groups keep streamed weights, and what the configuration adds, which goes first.
std::vector<std::string> GroupEnvironment(const AgentConfig& config) {
  constexpr std::string_view kCacheDir = "OVI_CACHE_DIR=";
  std::vector<std::string> environment = config.group_environment;
  if (std::none_of(environment.begin(), environment.end(),
                   [&](const std::string& variable) { return variable.starts_with(kCacheDir); })) {
    environment.push_back(absl::StrCat(std::string(kCacheDir), config.cache_dir));
  }
  return environment;
}

// None where all GPUs are alike, as those are that the driver finds.
std::vector<int> SharesOf(const std::optional<std::vector<DeclaredGpu>>& gpus) {
  std::vector<int> shares;
  for (const DeclaredGpu& gpu : gpus.value_or(std::vector<DeclaredGpu>())) shares.push_back(gpu.share);
  return UnlessAlike(std::move(shares));
}

}  // namespace

sigset_t AgentSignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&signals, signal);
  // Under nohup it stays ignored: blocked, it would come all the same.
  struct sigaction hangup {};
  if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    ::sigaddset(&signals, SIGHUP);
  return signals;
}

Agent::Agent(AgentConfig config, std::string own_path)
    : config_(std::move(config)), own_path_(std::move(own_path)), instance_id_(NewSecret(SecretBits::k128)) {}

Agent::~Agent() = default;

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(AgentConfig config) {
  std::error_code error;
  const std::string own_path = fs::read_symlink("/proc/self/exe", error);
  OVI_RETURN_IF_ERROR(CompleteConfig(config, own_path));
  std::unique_ptr<Agent> agent(new Agent(std::move(config), own_path));
  OVI_RETURN_IF_ERROR(agent->Look());
  return agent;
}

absl::Status Agent::Look() {
  if (!config_.node_token_file.empty()) {
    OVI_ASSIGN_OR_RETURN(token_, ReadSecretFile(config_.node_token_file));
  }
  std::unique_ptr<GpuReader> gpus;
  if (config_.declared_gpus) {
    gpus = MakeDeclaredReader(*config_.declared_gpus);
  } else {
    OVI_ASSIGN_OR_RETURN(gpus, OpenNvmlReader(config_.nvml_library));
  }
  probe_ = std::make_unique<NodeProbe>(NodeProbe::Parts{
      .gpus = std::move(gpus),
      .disk_path = config_.state_dir,
      .living = [this] { return groups_ == nullptr ? std::vector<LivingGroup>() : groups_->Living(); },
      .news = [this] { loop_.Post([this] { SendReport(); }); }});
  const int gpu_count = probe_->Latest().gpus_size();
  const std::vector<int> shares = SharesOf(config_.declared_gpus);
  models_ = std::make_unique<ModelScan>(ModelScan::Settings{
      .models_dir = config_.models_dir,
      .weights_dir = config_.weights_dir,
      .cache_file = config_.state_dir + "/models.json",
      .gpus = absl::StrCat("gpus ", gpu_count, shares.empty() ? "" : " ", absl::StrJoin(shares, ":")),
      .needs_of = [=](const ModelFolder& model) { return NeedsOf(model, gpu_count, shares); }});
  return absl::OkStatus();
}

absl::Status Agent::Open() {
  OVI_ASSIGN_OR_RETURN(state_lock_, LockStateFolder(config_.state_dir));
  OVI_ASSIGN_OR_RETURN(metrics_, AgentMetrics::Create(config_.metrics_address));
  // Orphans of a keeper that was killed become ours, so that they are found and reaped.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const sigset_t signals = AgentSignals();
  signal_fd_.Reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd_.valid()) return absl::ErrnoToStatus(errno, "cannot make a signalfd");
  MakeLink();
  return OpenGroups();
}

void Agent::MakeLink() {
  link_ = std::make_unique<NodeLink>(
      NodeLinkSettings{.address = config_.coordinator, .token = token_, .tls_ca_file = config_.tls_ca_file},
      NodeLink::Listener{
          .hello = [this] { return Hello(); },
          .connected =
              [this](const v1::NodeWelcome& welcome) { loop_.Post([=, this] { OnConnected(welcome); }); },
          .disconnected =
              [this](const absl::Status& reason) {
                metrics_->SetConnected(false);
                if (!ending_) Log(LogLevel::kWarning, "coordinator lost", {{"reason", reason.message()}});
              },
          .command =
              [this](const v1::NodeCommand& command) { loop_.Post([=, this] { OnCommand(command); }); },
          .refused =
              [this](const absl::Status& reason) {
                Log(LogLevel::kError, "coordinator refuses this agent", {{"reason", reason.message()}});
                loop_.Post([this] { End(kExitRefused); });
              }});
}

absl::Status Agent::OpenGroups() {
  const v1::NodeReport node = probe_->Latest();
  const int threads = std::max(node.host().core_count() / std::max(node.gpus_size(), 1), 1);
  GroupSettings settings{
      .groups_dir = config_.state_dir + "/groups",
      .node = config_.name,
      .models_dir = config_.models_dir,
      .coordinator_address = config_.coordinator,
      .mpirun = config_.mpirun,
      .worker = config_.worker,
      .keeper = own_path_,
      .tls_ca_file = config_.tls_ca_file,
      .threads_per_rank = config_.threads_per_rank == 0 ? threads : config_.threads_per_rank,
      .environment = GroupEnvironment(config_)};
  settings.weights_dir_of = [this](const std::string& name) -> absl::StatusOr<std::string> {
    OVI_ASSIGN_OR_RETURN(const ModelFolder model,
                         OpenServedModel(config_.models_dir, config_.weights_dir, name));
    return model.weights_dir == model.config_dir ? "" : model.weights_dir;
  };
  for (const v1::Gpu& gpu : node.gpus()) {
    const auto index = static_cast<std::size_t>(gpu.index());
    settings.gpus.push_back({.declared = gpu.declared(),
                             .uuid = gpu.uuid(),
                             .share = config_.declared_gpus ? config_.declared_gpus->at(index).share : 1});
  }
  const Groups::Listener listener{
      .started =
          [this](const v1::GroupStarted& started, std::optional<milliseconds> took) {
            if (took) metrics_->CountStart(true);
            if (took) metrics_->ObserveStart(*took);
            v1::NodeMessage message;
            *message.mutable_group_started() = started;
            link_->Send(std::move(message));
          },
      .not_started = [this] { metrics_->CountStart(false); },
      .exited =
          [this](const v1::GroupExited& exited) {
            v1::NodeMessage message;
            *message.mutable_group_exited() = exited;
            link_->Send(std::move(message));
            loop_.Post([this] { StopIfDone(); });
          }};
  OVI_ASSIGN_OR_RETURN(groups_, Groups::Open(std::move(settings), loop_, listener));
  return absl::OkStatus();
}

v1::NodeHello Agent::Hello() {
  v1::NodeHello hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_name(config_.name);
  hello.set_agent_version(OVI_VERSION);
  hello.set_instance_id(instance_id_);
  v1::NodeReport report = probe_->Latest();
  *hello.mutable_host() = std::move(*report.mutable_host());
  *hello.mutable_gpus() = std::move(*report.mutable_gpus());
  for (v1::ModelInfo& model : models_->Scan()) *hello.add_models() = std::move(model);
  if (groups_ == nullptr) return hello;
  for (LivingGroup& group : groups_->Living()) *hello.add_groups() = std::move(group.facts);
  return hello;
}

absl::StatusOr<int> Agent::Run() {
  OVI_RETURN_IF_ERROR(Open());
  Log(LogLevel::kInfo, "agent started",
      {{"node", config_.name},
       {"version", OVI_VERSION},
       {"coordinator", config_.coordinator},
       {"gpus", probe_->Latest().gpus_size()},
       {"groups_found", groups_->Living().size()},
       {"metrics_port", metrics_->port()}});
  loop_.Watch(signal_fd_.get(), [this] { OnSignal(); });
  metrics_->SetGpus(probe_->Latest());
  probe_->Start();
  link_->Start();
  loop_.Run();
  link_->Stop(kFarewellPatience);
  if (!probe_->Stop(kDriverPatience)) {
    Log(LogLevel::kError, "the GPU driver hangs: ending without it");
    std::_Exit(exit_code_);
  }
  Log(LogLevel::kInfo, "agent ended", {{"exit_code", exit_code_}});
  return exit_code_;
}

void Agent::OnSignal() {
  signalfd_siginfo info;
  while (::read(signal_fd_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      continue;
    }
    Log(LogLevel::kInfo, "agent told to end",
        {{"signal", info.ssi_signo}, {"keep_groups", config_.keep_groups}});
    if (config_.keep_groups) {
      End(0);
    } else {
      // The second time nobody waits.
      groups_->StopAll(std::exchange(stopping_, true) ? milliseconds(0) : kStopGrace);
      StopIfDone();
    }
  }
}

void Agent::StopIfDone() {
  metrics_->SetGroups(groups_->Counts());
  if (stopping_ && groups_->empty()) End(0);
}

void Agent::End(int exit_code) {
  exit_code_ = exit_code;
  ending_ = true;
  loop_.Quit();
}

void Agent::OnConnected(const v1::NodeWelcome& welcome) {
  Log(LogLevel::kInfo, "coordinator reached",
      {{"coordinator", config_.coordinator}, {"version", welcome.coordinator_version()}});
  metrics_->SetConnected(true);
  if (std::exchange(was_connected_, true)) metrics_->CountReconnect();
  const milliseconds wanted(config_.report_interval_ms != 0 ? config_.report_interval_ms
                                                            : welcome.report_interval_ms());
  report_pause_ = std::clamp(wanted, kReportPauseMin, kReportPauseMax);
  ReportEvery(++report_round_);
}

void Agent::ReportEvery(int round) {
  loop_.After(report_pause_, [this, round] {
    if (round != report_round_) return;  // a newer connection has its own
    SendReport();
    ReportEvery(round);
  });
}

void Agent::SendReport() {
  v1::NodeMessage message;
  *message.mutable_report() = probe_->Latest();
  metrics_->SetGpus(message.report());
  link_->Send(std::move(message));
}

void Agent::OnCommand(const v1::NodeCommand& command) {
  if (command.has_start_group()) {
    if (stopping_) return;  // the coordinator hears that the agent is gone
    groups_->Start(command.start_group());
  } else if (command.has_stop_group()) {
    const v1::StopGroup& stop = command.stop_group();
    groups_->Stop(stop.group_id(), std::clamp(milliseconds(stop.grace_ms()), milliseconds(0), kStopGraceMax));
  } else if (command.has_fetch_group_log()) {
    const v1::FetchGroupLog& fetch = command.fetch_group_log();
    const auto text =
        groups_->LogTail(fetch.group_id(), std::clamp<std::int64_t>(fetch.bytes_max(), 0, kLogBytesMax));
    v1::NodeMessage message;
    message.mutable_group_log()->set_request_id(fetch.request_id());
    message.mutable_group_log()->set_found(text.ok());
    if (text.ok()) message.mutable_group_log()->set_text(*text);
    link_->Send(std::move(message));
  }
  metrics_->SetGroups(groups_->Counts());
}

}  // namespace ovi
