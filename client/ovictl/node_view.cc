#include "client/ovictl/node_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/format.h"
#include "client/ovictl/table.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

Tint TintOf(v1::NodeState state) {
  switch (state) {
    case v1::NODE_STATE_READY:
      return Tint::kGood;
    case v1::NODE_STATE_DRAINED:
      return Tint::kWarning;
    case v1::NODE_STATE_LOST:
      return Tint::kBad;
    default:
      return Tint::kNone;
  }
}

// "g7-1 BUSY job 7" of every group on the GPU with this index.
std::string GroupsOn(const v1::Node& node, int gpu_index) {
  std::vector<std::string> words;
  for (const v1::Group& group : node.groups()) {
    const auto& indices = group.gpu_indices();
    if (std::find(indices.begin(), indices.end(), gpu_index) == indices.end()) continue;
    words.push_back(absl::StrCat(group.id(), " ", StateWord(group.state()),
                                 group.job_id().empty() ? "" : " job ", group.job_id()));
  }
  return absl::StrJoin(words, ", ");
}

// Those that can be used; what is wrong with the others is in NodeDetails.
std::string Models(const v1::Node& node) {
  std::vector<std::string> names;
  for (const v1::ModelInfo& model : node.models()) {
    if (model.problem().empty()) names.push_back(model.name());
  }
  return absl::StrJoin(names, ",");
}

Row NodeCells(const v1::Node& node) {
  return {node.name(), {StateWord(node.state()), TintOf(node.state())}};
}

Row GpuCells(const v1::Node& node, int i) {
  const v1::Gpu& gpu = node.gpus(i);
  const bool faulty = gpu.health() == v1::GPU_HEALTH_FAULTY;
  const std::int64_t reserved = i < node.gpu_bytes_reserved_size() ? node.gpu_bytes_reserved(i) : 0;
  return {absl::StrCat(gpu.index()),
          {faulty ? absl::StrCat(gpu.name(), " FAULTY: ", gpu.fault())
                  : absl::StrCat(gpu.name(), gpu.declared() ? " (declared)" : ""),
           faulty ? Tint::kBad : Tint::kNone},
          FormatBytes(gpu.bytes_total()),
          FormatBytes(FreeBytes(node, i)),
          FormatBytes(reserved),
          gpu.has_temperature_celsius() ? absl::StrCat(gpu.temperature_celsius(), " C") : ""};
}

void Append(Row& row, Row more) {
  row.insert(row.end(), more.begin(), more.end());
}

// "needs 16.7 MiB alone, 12.1 MiB each on 2; with fsdp 9.2 MiB each on 2".
std::string NeedsOf(const v1::ModelInfo& model) {
  std::vector<std::string> plain, fsdp;
  for (const v1::MemoryNeed& need : model.memory_needs()) {
    const std::string bytes = FormatBytes(need.as_executed_bytes());
    (need.fsdp() ? fsdp : plain)
        .push_back(need.world_size() == 1 ? absl::StrCat(bytes, " alone")
                                          : absl::StrCat(bytes, " each on ", need.world_size()));
  }
  return absl::StrCat("needs ", absl::StrJoin(plain, ", "), fsdp.empty() ? "" : "; with fsdp ",
                      absl::StrJoin(fsdp, ", "));
}

}  // namespace

std::int64_t FreeBytes(const v1::Node& node, int index) {
  const v1::Gpu& gpu = node.gpus(index);
  const std::int64_t reserved = index < node.gpu_bytes_reserved_size() ? node.gpu_bytes_reserved(index) : 0;
  return std::max<std::int64_t>(gpu.bytes_total() - gpu.bytes_foreign() - reserved, 0);
}

std::string NodeTable(const std::vector<v1::Node>& nodes, const Screen& screen) {
  const Row no_gpu(6);
  std::vector<Row> rows;
  for (const v1::Node& node : nodes) {
    for (int i = 0; i < std::max(node.gpus_size(), 1); ++i) {
      Row row = i == 0 ? NodeCells(node) : Row(2);
      Append(row, i < node.gpus_size() ? GpuCells(node, i) : no_gpu);
      row.emplace_back(i == 0 ? Models(node) : "");
      row.emplace_back(i < node.gpus_size() ? GroupsOn(node, node.gpus(i).index()) : "");
      rows.push_back(std::move(row));
    }
  }
  return RenderTable({{"NODE"},
                      {"STATE"},
                      {"GPU", Align::kRight},
                      {"NAME"},
                      {"TOTAL", Align::kRight},
                      {"FREE", Align::kRight},
                      {"RESERVED", Align::kRight},
                      {"TEMP", Align::kRight},
                      {"MODELS"},
                      {"GROUPS"}},
                     rows, screen);
}

std::string NodeDetails(const v1::Node& node, std::int64_t now_ms, const Screen& screen) {
  std::string out = NodeTable({node}, screen) + "\n";
  const auto add = [&](std::string_view label, const std::string& value, Tint tint = Tint::kNone) {
    constexpr int kLabelColumns = 12;
    if (value.empty()) return;
    absl::StrAppend(&out, std::string(label), std::string(kLabelColumns - label.size(), ' '),
                    Tinted(OneLine(value), tint, screen.colours), "\n");
  };
  const v1::HostFacts& host = node.host();
  add("drained", node.drain_reason(), Tint::kWarning);
  add("last heard", absl::StrCat(FormatSpan(node.last_heard_at_ms(), now_ms), " ago"));
  add("agent", node.agent_version());
  add("host", absl::StrCat(host.hostname(), host.os().empty() ? "" : ", ", host.os()));
  add("cores", absl::StrCat(host.core_count()));
  add("memory", absl::StrCat(FormatBytes(host.memory_bytes_available()), " free of ",
                             FormatBytes(host.memory_bytes_total())));
  add("disk",
      absl::StrCat(FormatBytes(host.disk_bytes_free()), " free of ", FormatBytes(host.disk_bytes_total())));
  for (const v1::ModelInfo& model : node.models()) {
    add("model",
        model.problem().empty() ? absl::StrCat(model.name(), ", ", FormatBytes(model.weights_bytes()),
                                               " of weights, ", NeedsOf(model))
                                : absl::StrCat(model.name(), ": ", model.problem()),
        model.problem().empty() ? Tint::kNone : Tint::kBad);
  }
  return out;
}

}  // namespace ovi::client
