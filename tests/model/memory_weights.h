// A checkpoint in memory, for tests of models without a file.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/weight_source.h"

namespace ovi {

class MemoryWeights final : public WeightSource {
 public:
  // Replaces a tensor of the same name. The values are f32, row-major.
  void Add(const std::string& name, const Shape& shape, std::vector<float> values) {
    OVI_CHECK(shape.elements() == static_cast<std::int64_t>(values.size()));
    tensors_[name] = {shape, std::move(values)};
  }
  void Remove(const std::string& name) { tensors_.erase(name); }
  // Null when there is none.
  std::vector<float>* MutableValues(const std::string& name) {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second.values;
  }

  const std::string& path() const override { return path_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  std::vector<TensorInfo> List() const override {
    std::vector<TensorInfo> list;
    for (const auto& [name, entry] : tensors_) {
      list.push_back({name, DType::kF32, entry.shape, View(entry).bytes()});
    }
    return list;
  }
  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", std::string(name)));
    }
    return View(found->second);
  }

 private:
  struct Entry {
    Shape shape;
    std::vector<float> values;
  };
  static HostTensor View(const Entry& entry) { return {entry.values.data(), DType::kF32, entry.shape}; }

  std::string path_ = "memory";
  std::map<std::string, Entry, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

inline std::vector<float> RandomValues(std::int64_t count, std::uint32_t seed, float limit = 1.0f) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-limit, limit);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

// Every tensor of the table, uniform within 1 / sqrt(inputs an output value), which keeps activations near 1.
inline MemoryWeights RandomWeights(const std::vector<TensorSpec>& specs, std::uint32_t seed) {
  MemoryWeights weights;
  for (const TensorSpec& spec : specs) {
    const std::int64_t elements = spec.shape.elements();
    const float fan_in = static_cast<float>(elements / spec.shape[0]);
    weights.Add(spec.name, spec.shape, RandomValues(elements, seed++, 1.0f / std::sqrt(fan_in)));
  }
  return weights;
}

}  // namespace ovi
