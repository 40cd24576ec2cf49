#include "worker/weights/inspect.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "worker/weights/lora.h"
#include "worker/weights/lora_names.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

// What an adapter's tensors are, whatever model they are for.
struct AdapterKind {
  std::int64_t pairs = 0;  // of a down and an up matrix, counted by the former
  std::set<std::int64_t> ranks;
  std::int64_t differences = 0;

  bool is_adapter() const { return pairs + differences > 0; }
};

AdapterKind KindOf(const std::vector<TensorInfo>& list) {
  AdapterKind kind;
  for (const TensorInfo& info : list) {
    const std::optional<LoraKey> key = ParseLoraKey(info.name);
    if (!key || info.shape.rank() == 0) continue;
    if (key->part == LoraPart::kDown) {
      ++kind.pairs;
      kind.ranks.insert(info.shape[0]);
    } else if (key->part != LoraPart::kUp && key->part != LoraPart::kAlpha) {
      ++kind.differences;
    }
  }
  return kind;
}

std::string AdapterText(const AdapterKind& kind, const std::string& path,
                        const std::vector<TensorSpec>* model) {
  std::string text = absl::StrCat("LoRA adapter: ", kind.pairs, " pairs");
  if (!kind.ranks.empty()) absl::StrAppend(&text, " of rank ", absl::StrJoin(kind.ranks, ", "));
  absl::StrAppend(&text, ", ", kind.differences, " differences in full\n");
  if (model == nullptr) return text;
  const absl::StatusOr<LoraAdapter> adapter = OpenLora(path, 1.0, *model);
  if (!adapter.ok()) return absl::StrCat(text, "does not fit: ", adapter.status().message(), "\n");
  absl::StrAppend(&text, "fits: ", DescribeMatch(*adapter), "\n");
  for (const std::string& name : adapter->unmatched) {
    absl::StrAppend(&text, "without effect: ", Printable(name), "\n");
  }
  return text;
}

nlohmann::ordered_json AdapterJson(const AdapterKind& kind, const std::string& path,
                                   const std::vector<TensorSpec>* model) {
  nlohmann::ordered_json json = {
      {"pairs", kind.pairs}, {"ranks", kind.ranks}, {"differences", kind.differences}};
  if (model == nullptr) return json;
  const absl::StatusOr<LoraAdapter> adapter = OpenLora(path, 1.0, *model);
  if (!adapter.ok()) {
    json["error"] = std::string(adapter.status().message());
    return json;
  }
  json["match"] = {{"tensors_used", adapter->matched},
                   {"tensors_changed", adapter->changes.size()},
                   {"unmatched", adapter->unmatched}};
  return json;
}

// "F8_E4M3 scaled": a quantised matrix with a scale a row. "4 bit + rank 128": a compressed one.
std::string DTypeText(const TensorInfo& info) {
  if (info.rank > 0) return absl::StrCat("4 bit + rank ", info.rank);
  return absl::StrCat(std::string(DTypeName(info.dtype)), info.is_scaled ? " scaled" : "");
}

std::string AsText(const WeightSource& source, const std::vector<TensorInfo>& list,
                   const std::vector<TensorSpec>* model) {
  std::size_t name_width = 4, dtype_width = 7, shape_width = 5;
  for (const TensorInfo& info : list) {
    name_width = std::max(name_width, Printable(info.name).size());
    dtype_width = std::max(dtype_width, DTypeText(info).size());
    shape_width = std::max(shape_width, info.shape.ToString().size());
  }
  const int names = static_cast<int>(name_width), shapes = static_cast<int>(shape_width);
  const int dtypes = static_cast<int>(dtype_width);
  std::string text =
      absl::StrFormat("%-*s  %-*s  %-*s  %s\n", names, "NAME", dtypes, "DTYPE", shapes, "SHAPE", "BYTES");
  struct Total {
    std::int64_t tensors = 0, elements = 0, bytes = 0;
    void Add(const TensorInfo& info) {
      ++tensors;
      elements += info.shape.elements();
      bytes += info.bytes;
    }
  };
  std::map<std::string, Total> by_dtype;
  Total all;
  for (const TensorInfo& info : list) {
    const std::string dtype = DTypeText(info);
    absl::StrAppendFormat(&text, "%-*s  %-*s  %-*s  %d\n", names, Printable(info.name), dtypes, dtype, shapes,
                          info.shape.ToString(), info.bytes);
    by_dtype[dtype].Add(info);
    all.Add(info);
  }
  const auto describe = [](const Total& total) {
    return absl::StrFormat("%d tensors, %d elements, %d bytes", total.tensors, total.elements, total.bytes);
  };
  absl::StrAppend(&text, "\n", source.path(), ": ", describe(all), "\n");
  for (const auto& [dtype, total] : by_dtype) absl::StrAppend(&text, dtype, ": ", describe(total), "\n");
  for (const auto& [key, value] : source.metadata()) {
    absl::StrAppend(&text, "metadata ", Printable(key), ": ", Printable(value), "\n");
  }
  if (const AdapterKind kind = KindOf(list); kind.is_adapter()) {
    absl::StrAppend(&text, AdapterText(kind, source.path(), model));
  }
  return text;
}

std::string AsJson(const WeightSource& source, const std::vector<TensorInfo>& list,
                   const std::vector<TensorSpec>* model) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  std::int64_t bytes = 0;
  for (const TensorInfo& info : list) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int axis = 0; axis < info.shape.rank(); ++axis) shape.push_back(info.shape[axis]);
    tensors.push_back(
        {{"name", info.name}, {"dtype", DTypeName(info.dtype)}, {"shape", shape}, {"bytes", info.bytes}});
    if (info.is_scaled) tensors.back()["scaled"] = true;
    if (info.rank > 0) tensors.back()["compressed_rank"] = info.rank;
    bytes += info.bytes;
  }
  nlohmann::ordered_json document;
  document["path"] = source.path();
  document["tensor_count"] = list.size();
  document["bytes"] = bytes;
  document["tensors"] = std::move(tensors);
  document["metadata"] = source.metadata();
  if (const AdapterKind kind = KindOf(list); kind.is_adapter()) {
    document["adapter"] = AdapterJson(kind, source.path(), model);
  }
  // A path need not be UTF-8: such bytes become U+FFFD instead of an exception.
  return document.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::StatusOr<std::string> InspectWeights(const std::string& path, bool json,
                                           const std::vector<TensorSpec>* model) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(path));
  const std::vector<TensorInfo> list = source->List();
  return json ? AsJson(*source, list, model) : AsText(*source, list, model);
}

}  // namespace ovi
