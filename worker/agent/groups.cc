#include "worker/agent/groups.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/agent/group_launch.h"
#include "worker/agent/group_log.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::int64_t kTailBytesMax = 8 * 1024;
constexpr std::size_t kMessageBytesMax = 1000;  // at most four times as many once escaped

// What orders name may come from anywhere; it becomes a path only if it cannot lead out of our folder.
bool IsFolderName(const std::string& group_id) {
  return !group_id.empty() && group_id.front() != '.' && group_id.find('/') == std::string::npos;
}

}  // namespace

std::vector<int> UnlessAlike(std::vector<int> shares) {
  const bool alike = std::adjacent_find(shares.begin(), shares.end(), std::not_equal_to<>()) == shares.end();
  return alike ? std::vector<int>() : shares;
}

Groups::Groups(GroupSettings settings, EventLoop& loop, Listener listener)
    : settings_(std::move(settings)), loop_(loop), listener_(std::move(listener)) {}

absl::StatusOr<std::unique_ptr<Groups>> Groups::Open(GroupSettings settings, EventLoop& loop,
                                                     Listener listener) {
  std::unique_ptr<Groups> groups(new Groups(std::move(settings), loop, std::move(listener)));
  const std::string& dir = groups->settings_.groups_dir;
  std::error_code error;
  fs::create_directories(dir, error);
  if (error)
    return absl::FailedPreconditionError(absl::StrCat(dir, ": cannot make the folder: ", error.message()));
  std::vector<std::string> ids;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, error)) {
    if (entry.is_directory(error)) ids.push_back(entry.path().filename());
  }
  std::sort(ids.begin(), ids.end());
  for (const std::string& id : ids) groups->Find(id);
  groups->GroupsChanged();
  return groups;
}

GroupFolder Groups::FolderOf(const std::string& group_id) const {
  return GroupFolder(absl::StrCat(settings_.groups_dir, "/", group_id));
}

std::shared_ptr<LiveGroup> Groups::Add(const std::string& group_id, GroupFacts facts) {
  const auto ordered_at = std::chrono::steady_clock::now();
  auto group = std::make_shared<LiveGroup>(
      loop_, FolderOf(group_id), std::move(facts),
      LiveGroup::Callbacks{
          .started = [=, this] { OnStarted(group_id, std::chrono::steady_clock::now() - ordered_at); },
          .found = [this] { GroupsChanged(); },
          .ended = [=, this](const ExitRecord& record) { OnEnded(group_id, record); }});
  groups_[group_id] = group;
  return group;
}

void Groups::Find(const std::string& group_id) {
  const GroupFolder folder = FolderOf(group_id);
  const bool lives = absl::IsUnavailable(TryLockFile(folder.lock_path()).status());
  const absl::StatusOr<ExitRecord> exit = folder.ReadExit();
  if (!lives && exit.ok()) {
    if (!folder.told()) TellExited(group_id, *exit);
    return;
  }
  const absl::StatusOr<GroupFacts> facts = ReadGroupFacts(folder.path());
  const std::shared_ptr<LiveGroup> group = Add(group_id, facts.value_or(GroupFacts()));
  if (!lives) {
    group->EndWithoutKeeper();
    return;
  }
  Log(LogLevel::kInfo, "group found", {{"group", group_id}});
  group->WatchFound();
  if (!facts.ok()) group->Stop(milliseconds(0));  // nobody could say what it computes on
}

void Groups::Start(const v1::StartGroup& order) {
  const auto found = groups_.find(order.group_id());
  if (found != groups_.end()) {
    // One that is being started is told of when it runs.
    if (found->second->leader_pid() != 0) TellStarted(*found->second, std::nullopt);
    return;
  }
  const absl::Status launched = Launch(order);
  if (launched.ok()) return;
  Log(LogLevel::kError, "group not started", {{"group", order.group_id()}, {"reason", launched.message()}});
  listener_.not_started();
  TellExited(order.group_id(), {.message = std::string(launched.message())});
}

absl::Status Groups::Launch(const v1::StartGroup& order) {
  GroupFacts facts{.group_id = order.group_id(),
                   .node = settings_.node,
                   .gpu_indices = {order.gpu_indices().begin(), order.gpu_indices().end()},
                   .bytes_per_rank = order.bytes_per_rank(),
                   .model_name = order.model_name(),
                   .models_dir = settings_.models_dir,
                   .coordinator_address = order.coordinator_address().empty() ? settings_.coordinator_address
                                                                              : order.coordinator_address(),
                   .idle_timeout_ms = order.idle_timeout_ms(),
                   .insecure = settings_.tls_ca_file.empty(),
                   .threads_per_rank = settings_.threads_per_rank};
  OVI_RETURN_IF_ERROR(CheckGroupFacts(facts));  // before its id becomes a path
  OVI_ASSIGN_OR_RETURN(facts.weights_dir, settings_.weights_dir_of(facts.model_name));
  OVI_ASSIGN_OR_RETURN(const std::string devices, VisibleDevices(facts.gpu_indices));
  facts.rank_shares = SharesOf(facts.gpu_indices);
  OVI_ASSIGN_OR_RETURN(LaunchedKeeper keeper, LaunchGroup({.folder = FolderOf(facts.group_id),
                                                           .facts = facts,
                                                           .token = order.token(),
                                                           .mpirun = settings_.mpirun,
                                                           .worker = settings_.worker,
                                                           .keeper = settings_.keeper,
                                                           .threads_per_rank = settings_.threads_per_rank,
                                                           .cuda_visible_devices = devices,
                                                           .tls_ca_file = settings_.tls_ca_file,
                                                           .environment = settings_.environment}));
  Add(facts.group_id, facts)->WatchLaunched(std::move(keeper));
  GroupsChanged();
  return absl::OkStatus();
}

absl::StatusOr<std::string> Groups::VisibleDevices(const std::vector<int>& gpu_indices) const {
  std::vector<std::string> uuids;
  for (const int index : gpu_indices) {
    if (index < 0 || index >= static_cast<int>(settings_.gpus.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("gpu_indices: this node has ", settings_.gpus.size(), " GPUs, got index ", index));
    }
    const GroupGpu& gpu = settings_.gpus[static_cast<std::size_t>(index)];
    if (gpu.declared) continue;
    if (gpu.uuid.empty())
      return absl::FailedPreconditionError(absl::StrCat("gpu_indices: GPU ", index, " is lost"));
    uuids.push_back(gpu.uuid);
  }
  return absl::StrJoin(uuids, ",");
}

std::vector<int> Groups::SharesOf(const std::vector<int>& gpu_indices) const {
  std::vector<int> shares;
  for (const int index : gpu_indices)
    shares.push_back(settings_.gpus.at(static_cast<std::size_t>(index)).share);
  return UnlessAlike(std::move(shares));
}

void Groups::Stop(const std::string& group_id, milliseconds grace) {
  const auto found = groups_.find(group_id);
  if (found != groups_.end()) {
    const std::shared_ptr<LiveGroup> group = found->second;
    group->Stop(grace);
    return;
  }
  absl::StatusOr<ExitRecord> ended = absl::NotFoundError("");
  if (IsFolderName(group_id)) ended = FolderOf(group_id).ReadExit();
  TellExited(group_id, ended.value_or(ExitRecord{.message = "no such group lives here"}));
}

void Groups::StopAll(milliseconds grace) {
  for (const auto& [id, group] : std::map(groups_)) group->Stop(grace);
}

absl::StatusOr<std::string> Groups::LogTail(const std::string& group_id, std::int64_t bytes_max) const {
  if (!IsFolderName(group_id))
    return absl::NotFoundError(absl::StrCat(Quoted(group_id), " is no group's id"));
  return ReadGroupLogTail(FolderOf(group_id).path(), bytes_max);
}

GroupCounts Groups::Counts() const {
  GroupCounts counts;
  for (const auto& [id, group] : groups_) {
    ++(group->stopping() ? counts.stopping : group->leader_pid() == 0 ? counts.starting : counts.running);
  }
  return counts;
}

std::vector<LivingGroup> Groups::Living() const {
  const std::lock_guard lock(mutex_);
  return living_;
}

void Groups::GroupsChanged() {
  std::vector<LivingGroup> living;
  std::vector<std::string> ids;
  for (const auto& [id, group] : groups_) {
    ids.push_back(id);
    if (group->id().empty()) continue;  // nothing is known of it but that it is to end
    LivingGroup& one = living.emplace_back();
    one.keeper_pid = group->keeper_pid();
    one.facts.set_group_id(id);
    for (const int index : group->facts().gpu_indices) one.facts.add_gpu_indices(index);
    one.facts.set_bytes_per_rank(group->facts().bytes_per_rank);
    one.facts.set_model_name(group->facts().model_name);
  }
  RemoveOldGroupFolders(settings_.groups_dir, ids);
  const std::lock_guard lock(mutex_);
  living_ = std::move(living);
}

void Groups::OnStarted(const std::string& group_id, std::chrono::steady_clock::duration took) {
  const LiveGroup& group = *groups_.at(group_id);
  Log(LogLevel::kInfo, "group started",
      {{"group", group_id}, {"pid", group.leader_pid()}, {"ranks", group.facts().gpu_indices.size()}});
  TellStarted(group, std::chrono::duration_cast<milliseconds>(took));
}

void Groups::OnEnded(const std::string& group_id, const ExitRecord& record) {
  std::error_code ignored;
  fs::remove(FolderOf(group_id).path() + "/token", ignored);
  groups_.erase(group_id);
  GroupsChanged();
  if (!record.launched) listener_.not_started();
  Log(LogLevel::kInfo, "group ended",
      {{"group", group_id},
       {"exit_code", record.exit_code},
       {"signal", record.signal},
       {"message", record.message}});
  TellExited(group_id, record);
}

void Groups::TellStarted(const LiveGroup& group, std::optional<milliseconds> took) const {
  v1::GroupStarted started;
  started.set_group_id(group.id());
  started.set_pid(group.leader_pid());
  listener_.started(started, took);
}

void Groups::TellExited(const std::string& group_id, const ExitRecord& record) const {
  v1::GroupExited exited;
  exited.set_group_id(Escaped(group_id));
  exited.set_launched(record.launched);
  exited.set_exit_code(record.exit_code);
  exited.set_signal(record.signal);
  const std::string message = Escaped(record.message.substr(0, kMessageBytesMax));
  const std::string printed =
      LogTail(group_id, kTailBytesMax - 2 - static_cast<std::int64_t>(message.size())).value_or("");
  exited.set_output_tail(message.empty() ? printed : absl::StrCat(printed, message, "\n"));
  listener_.exited(exited);
  if (IsFolderName(group_id)) FolderOf(group_id).MarkTold();
}

}  // namespace ovi
