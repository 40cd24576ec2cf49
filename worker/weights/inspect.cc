#include "worker/weights/inspect.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

std::string AsText(const WeightSource& source, const std::vector<TensorInfo>& list) {
  std::size_t name_width = 4, shape_width = 5;
  for (const TensorInfo& info : list) {
    name_width = std::max(name_width, Printable(info.name).size());
    shape_width = std::max(shape_width, info.shape.ToString().size());
  }
  const int names = static_cast<int>(name_width), shapes = static_cast<int>(shape_width);
  std::string text =
      absl::StrFormat("%-*s  %-7s  %-*s  %s\n", names, "NAME", "DTYPE", shapes, "SHAPE", "BYTES");
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
    const std::string dtype(DTypeName(info.dtype));
    absl::StrAppendFormat(&text, "%-*s  %-7s  %-*s  %d\n", names, Printable(info.name), dtype, shapes,
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
  return text;
}

std::string AsJson(const WeightSource& source, const std::vector<TensorInfo>& list) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  std::int64_t bytes = 0;
  for (const TensorInfo& info : list) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int axis = 0; axis < info.shape.rank(); ++axis) shape.push_back(info.shape[axis]);
    tensors.push_back(
        {{"name", info.name}, {"dtype", DTypeName(info.dtype)}, {"shape", shape}, {"bytes", info.bytes}});
    bytes += info.bytes;
  }
  nlohmann::ordered_json document;
  document["path"] = source.path();
  document["tensor_count"] = list.size();
  document["bytes"] = bytes;
  document["tensors"] = std::move(tensors);
  document["metadata"] = source.metadata();
  // A path need not be UTF-8: such bytes become U+FFFD instead of an exception.
  return document.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::StatusOr<std::string> InspectWeights(const std::string& path, bool json) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(path));
  const std::vector<TensorInfo> list = source->List();
  return json ? AsJson(*source, list) : AsText(*source, list);
}

}  // namespace ovi
