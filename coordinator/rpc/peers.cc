#include "coordinator/rpc/peers.h"

#include <vector>

#include "coordinator/rpc/convert.h"
#include "worker/job/job_proto.h"

namespace ovi {

void Peers::AddAgent(const std::string& node, const std::string& instance,
                     std::weak_ptr<AgentStream> stream) {
  const AgentStream* identity = stream.lock().get();
  const std::lock_guard lock(mutex_);
  agents_[{node, instance}] = {std::move(stream), identity};
}

void Peers::RemoveAgent(const std::string& node, const std::string& instance, const AgentStream* stream) {
  const std::lock_guard lock(mutex_);
  const auto found = agents_.find({node, instance});
  if (found != agents_.end() && found->second.identity == stream) agents_.erase(found);
}

void Peers::AddGroup(const std::string& group, std::weak_ptr<GroupStream> stream) {
  const std::shared_ptr<GroupStream> newer = stream.lock();
  std::shared_ptr<GroupStream> older;
  {
    const std::lock_guard lock(mutex_);
    GroupEntry& entry = groups_[group];
    older = entry.stream.lock();
    entry = {std::move(stream), newer.get()};
  }
  if (older != nullptr && older != newer)
    older->End(grpc::Status(grpc::StatusCode::ABORTED, "the group dialled again"));
}

bool Peers::RemoveGroup(const std::string& group, const GroupStream* stream) {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  if (found == groups_.end() || found->second.identity != stream) return false;
  groups_.erase(found);
  return true;
}

bool Peers::SendToAgent(const std::string& node, const std::string& instance, v1::NodeCommand command) {
  std::shared_ptr<AgentStream> stream;
  {
    const std::lock_guard lock(mutex_);
    const auto found = agents_.find({node, instance});
    if (found != agents_.end()) stream = found->second.stream.lock();
  }
  if (stream == nullptr) return false;
  stream->Send(std::move(command));
  return true;
}

void Peers::SendToGroup(const std::string& group, v1::GroupCommand command) {
  std::shared_ptr<GroupStream> stream;
  {
    const std::lock_guard lock(mutex_);
    const auto found = groups_.find(group);
    if (found != groups_.end()) stream = found->second.stream.lock();
  }
  if (stream != nullptr) stream->Send(std::move(command));
}

void Peers::StartGroup(const core::StartGroup& start, const std::string& agent_instance) {
  v1::NodeCommand command;
  v1::StartGroup& out = *command.mutable_start_group();
  out.set_group_id(start.group);
  out.set_token(credentials_.GroupToken(start.group));
  for (const int index : start.gpu_indices) out.add_gpu_indices(index);
  out.set_bytes_per_rank(start.bytes_per_rank);
  out.set_model_name(start.model_name);
  out.set_idle_timeout_ms(options_.group_idle_timeout_ms);
  SendToAgent(start.node, agent_instance, std::move(command));
}

void Peers::StopGroup(const core::StopGroup& stop, const std::string& agent_instance) {
  v1::GroupCommand shut_down;
  shut_down.mutable_shut_down();
  SendToGroup(stop.group, std::move(shut_down));
  v1::NodeCommand command;
  command.mutable_stop_group()->set_group_id(stop.group);
  command.mutable_stop_group()->set_grace_ms(options_.stop_grace_ms);
  SendToAgent(stop.node, agent_instance, std::move(command));
}

void Peers::RunAttempt(const core::RunAttempt& run, const std::string& spec) {
  v1::GroupCommand command;
  *command.mutable_run()->mutable_attempt() = ToProto(run.attempt);
  v1::JobSpec& out = *command.mutable_run()->mutable_spec();
  out.ParseFromString(spec);
  // A group that chose for itself might find another one: a clip can be smaller than the model's largest.
  if (run.vram_mode != VramMode::kAuto) out.set_vram_mode(ToProto(run.vram_mode));
  SendToGroup(run.group, std::move(command));
}

void Peers::CancelAttempt(const core::CancelAttempt& cancel) {
  v1::GroupCommand command;
  *command.mutable_cancel()->mutable_attempt() = ToProto(cancel.attempt);
  SendToGroup(cancel.group, std::move(command));
}

void Peers::AcknowledgeAttempt(const core::AcknowledgeAttempt& acknowledge) {
  v1::GroupCommand command;
  *command.mutable_acknowledged()->mutable_attempt() = ToProto(acknowledge.attempt);
  SendToGroup(acknowledge.group, std::move(command));
}

void Peers::EndAll(const grpc::Status& status) {
  std::vector<std::shared_ptr<AgentStream>> agents;
  std::vector<std::shared_ptr<GroupStream>> groups;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : agents_) agents.push_back(entry.stream.lock());
    for (const auto& [name, entry] : groups_) groups.push_back(entry.stream.lock());
  }
  for (const auto& stream : agents) {
    if (stream != nullptr) stream->End(status);
  }
  for (const auto& stream : groups) {
    if (stream != nullptr) stream->End(status);
  }
}

}  // namespace ovi
