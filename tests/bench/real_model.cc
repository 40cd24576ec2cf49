#include "tests/bench/real_model.h"

#include <algorithm>
#include <random>

namespace ovi::bench {

TowerConfig RealTower(bool video, std::int64_t layers) {
  return {.dim = 3072,
          .ffn_dim = 14336,
          .freq_dim = 256,
          .heads = 24,
          .layers = layers,
          .text_len = kTextRows,
          .text_dim = 4096,
          .in_dim = video ? 48 : 20,
          .out_dim = video ? 48 : 20,
          .patch = video ? std::vector<std::int64_t>{1, 2, 2} : std::vector<std::int64_t>{1},
          .temporal_rope_scaling = video ? 1.0 : 0.19676,
          .eps = 1e-6};
}

SyntheticWeights::SyntheticWeights(const std::vector<TensorSpec>& specs) {
  std::int64_t largest = 0;
  for (const TensorSpec& spec : specs) {
    shapes_[spec.name] = spec.shape;
    largest = std::max(largest, spec.shape.elements());
  }
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-0.03f, 0.03f);
  values_.resize(static_cast<std::size_t>(largest));
  for (BFloat16& value : values_) value = ToBFloat16(uniform(random));
}

std::vector<TensorInfo> SyntheticWeights::List() const {
  std::vector<TensorInfo> list;
  for (const auto& [name, shape] : shapes_) {
    list.push_back({name, DType::kBF16, shape, shape.elements() * ElementBytes(DType::kBF16)});
  }
  return list;
}

absl::StatusOr<HostTensor> SyntheticWeights::Find(std::string_view name) const {
  const auto found = shapes_.find(std::string(name));
  if (found == shapes_.end()) return absl::NotFoundError(std::string(name));
  return HostTensor{values_.data(), DType::kBF16, found->second};
}

}  // namespace ovi::bench
