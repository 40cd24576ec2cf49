#include "coordinator/rpc/node_facts.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "coordinator/core/placement.h"
#include "coordinator/rpc/convert.h"
#include "worker/job/job_proto.h"
#include "worker/plan/gpu_model.h"

namespace ovi {
namespace {

constexpr int kProtocolVersion = 1;
constexpr int kGpusMax = 64;
constexpr int kModelsMax = 1000;
constexpr std::size_t kNodeNameBytesMax = 64;

absl::Status CheckProtocol(int version) {
  if (version == kProtocolVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "protocol_version ", version, " cannot speak with this coordinator, which knows ", kProtocolVersion));
}

absl::Status CheckNodeName(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
  if (!name.empty() && name.size() <= kNodeNameBytesMax && plain) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("name must be 1 to ", kNodeNameBytesMax,
                                                 " of letters, digits, - _ . and is ", Quoted(name)));
}

absl::Status CheckIndices(const google::protobuf::RepeatedField<int>& indices) {
  std::vector<int> sorted(indices.begin(), indices.end());
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty() && sorted.front() >= 0 && sorted.back() < kGpusMax &&
      std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("gpu_indices must be different numbers from 0 to ", kGpusMax - 1));
}

absl::StatusOr<core::GroupFound> ParseGroup(const std::string& id,
                                            const google::protobuf::RepeatedField<int>& indices,
                                            std::int64_t bytes, const std::string& model) {
  if (id.empty()) return absl::InvalidArgumentError("group_id must not be empty");
  OVI_RETURN_IF_ERROR(CheckIndices(indices));
  if (bytes < 0)
    return absl::InvalidArgumentError(absl::StrCat("bytes_per_rank must not be negative, got ", bytes));
  return core::GroupFound{.group = id,
                          .gpu_indices = std::vector<int>(indices.begin(), indices.end()),
                          .bytes_per_rank = bytes,
                          .model_name = model};
}

absl::StatusOr<core::ModelFacts> ParseModel(const v1::ModelInfo& model) {
  core::ModelFacts out{.name = model.name(), .problem = model.problem()};
  std::set<std::tuple<int, bool, VramMode>> groups;
  for (const v1::MemoryNeed& need : model.memory_needs()) {
    const auto wrong = [&](std::string_view what) {
      return absl::InvalidArgumentError(
          absl::StrCat("models[", Quoted(model.name()), "].memory_needs: ", std::string(what)));
    };
    if (need.world_size() < 1 || need.world_size() > kGpusMax) {
      return wrong(absl::StrCat("world_size must be 1..", kGpusMax, ", got ", need.world_size()));
    }
    if (std::min({need.as_executed_bytes(), need.reference_bytes(), need.low_rank_bytes(),
                  need.as_executed_bytes_useful(), need.low_rank_bytes_useful()}) < 0) {
      return wrong("bytes must not be negative");
    }
    if (!v1::VramMode_IsValid(need.vram_mode())) continue;  // of an agent that knows more of them
    if (need.vram_mode() == v1::VRAM_MODE_AUTO) return wrong("vram_mode must be one, not auto");
    const VramMode mode =
        need.vram_mode() == v1::VRAM_MODE_UNSPECIFIED ? VramMode::kStandard : VramModeOf(need.vram_mode());
    if (!groups.emplace(need.world_size(), need.fsdp(), mode).second) {
      return wrong(absl::StrCat(need.world_size(), " ranks come twice"));
    }
    out.needs.push_back({.world_size = need.world_size(),
                         .fsdp = need.fsdp(),
                         .vram_mode = mode,
                         .as_executed_bytes = need.as_executed_bytes(),
                         .reference_bytes = need.reference_bytes(),
                         .low_rank_bytes = need.low_rank_bytes(),
                         .as_executed_bytes_useful = need.as_executed_bytes_useful(),
                         .low_rank_bytes_useful = need.low_rank_bytes_useful()});
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<core::GpuFacts>> ParseGpus(
    const google::protobuf::RepeatedPtrField<v1::Gpu>& gpus) {
  if (gpus.size() > kGpusMax) {
    return absl::InvalidArgumentError(absl::StrCat("gpus must be at most ", kGpusMax, ", got ", gpus.size()));
  }
  std::vector<core::GpuFacts> out;
  for (const v1::Gpu& gpu : gpus) {
    if (gpu.index() != static_cast<int>(out.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("gpus[", out.size(), "].index must be ", out.size(), ", got ", gpu.index()));
    }
    if (gpu.bytes_total() < 0 || gpu.bytes_foreign() < 0) {
      return absl::InvalidArgumentError(absl::StrCat("gpus[", out.size(), "]: bytes must not be negative"));
    }
    out.push_back({.index = gpu.index(),
                   .name = gpu.name(),
                   .bytes_total = gpu.bytes_total(),
                   .bytes_foreign = gpu.bytes_foreign(),
                   .bytes_driver = gpu.declared() ? 0 : kGpuDriverBytes,
                   .faulty = gpu.health() == v1::GPU_HEALTH_FAULTY});
  }
  return out;
}

absl::StatusOr<core::NodeConnected> ParseHello(const v1::NodeHello& hello) {
  OVI_RETURN_IF_ERROR(CheckProtocol(hello.protocol_version()));
  OVI_RETURN_IF_ERROR(CheckNodeName(hello.name()));
  if (hello.instance_id().empty()) return absl::InvalidArgumentError("instance_id must not be empty");
  if (hello.models_size() > kModelsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("models must be at most ", kModelsMax, ", got ", hello.models_size()));
  }
  core::NodeConnected out;
  out.facts.name = hello.name();
  out.facts.instance_id = hello.instance_id();
  OVI_ASSIGN_OR_RETURN(out.facts.gpus, ParseGpus(hello.gpus()));
  for (const v1::ModelInfo& model : hello.models()) {
    OVI_ASSIGN_OR_RETURN(out.facts.models.emplace_back(), ParseModel(model));
  }
  for (const v1::GroupFound& group : hello.groups()) {
    OVI_ASSIGN_OR_RETURN(out.groups.emplace_back(), ParseGroup(group.group_id(), group.gpu_indices(),
                                                               group.bytes_per_rank(), group.model_name()));
  }
  return out;
}

absl::StatusOr<core::GroupAttached> ParseGroupHello(const v1::GroupHello& hello) {
  OVI_RETURN_IF_ERROR(CheckProtocol(hello.protocol_version()));
  OVI_RETURN_IF_ERROR(CheckNodeName(hello.node()));
  core::GroupAttached out;
  OVI_ASSIGN_OR_RETURN(out.group, ParseGroup(hello.group_id(), hello.gpu_indices(), hello.bytes_per_rank(),
                                             hello.model_name()));
  if (hello.world_size() != hello.gpu_indices_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("world_size must be the number of gpu_indices, ", hello.gpu_indices_size()));
  }
  out.node = hello.node();
  if (hello.has_running()) {
    out.running = FromProto(hello.running());
    if (out.running.job == 0) return absl::InvalidArgumentError("running must name a job and an attempt");
  }
  return out;
}

void NodeBook::Welcome(const v1::NodeHello& hello) {
  v1::Node node;
  node.set_name(hello.name());
  *node.mutable_gpus() = hello.gpus();
  *node.mutable_host() = hello.host();
  *node.mutable_models() = hello.models();
  node.set_agent_version(hello.agent_version());
  const std::lock_guard lock(mutex_);
  nodes_[hello.name()] = std::move(node);
}

void NodeBook::Report(const std::string& name, const v1::NodeReport& report) {
  const std::lock_guard lock(mutex_);
  v1::Node& node = nodes_[name];
  *node.mutable_gpus() = report.gpus();
  *node.mutable_host() = report.host();
}

v1::Node NodeBook::NodeOf(const core::State& state, const core::Node& node) const {
  const std::string& name = node.facts.name;
  const auto kept = nodes_.find(name);
  v1::Node out = kept == nodes_.end() ? v1::Node() : kept->second;
  out.set_name(name);
  const auto drained = state.drained.find(name);
  if (drained != state.drained.end()) out.set_drain_reason(drained->second);
  out.set_state(!node.connected                  ? v1::NODE_STATE_LOST
                : drained != state.drained.end() ? v1::NODE_STATE_DRAINED
                                                 : v1::NODE_STATE_READY);
  out.set_last_heard_at_ms(node.last_heard_at);
  for (const auto& [id, group] : state.groups) {
    if (group.node != name) continue;
    v1::Group& shown = *out.add_groups();
    shown.set_id(id);
    shown.set_state(static_cast<v1::GroupState>(static_cast<int>(group.state) + 1));
    shown.set_bytes_per_rank(group.bytes_per_rank);
    shown.set_model_name(group.model_name);
    if (group.attempt.job != 0) shown.set_job_id(absl::StrCat(group.attempt.job));
    shown.set_attempt(group.attempt.attempt);
    for (const int index : group.gpu_indices) shown.add_gpu_indices(index);
  }
  for (const core::GpuFacts& gpu : node.facts.gpus) {
    out.add_gpu_bytes_reserved(core::BytesReserved(state, name, gpu.index));
  }
  return out;
}

std::vector<v1::Node> NodeBook::List(const core::State& state) const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::Node> out;
  for (const auto& [name, node] : state.nodes) out.push_back(NodeOf(state, node));
  return out;
}

absl::StatusOr<v1::Node> NodeBook::Get(const core::State& state, const std::string& name) const {
  const auto found = state.nodes.find(name);
  if (found == state.nodes.end())
    return absl::NotFoundError(absl::StrCat("no node is called ", Quoted(name)));
  const std::lock_guard lock(mutex_);
  return NodeOf(state, found->second);
}

}  // namespace ovi
