#include "tests/bench/real_model.h"

#include <algorithm>
#include <random>

#include "tests/model/public_fusion.h"

namespace ovi::bench {

TowerConfig RealTower(bool video, std::int64_t layers) {
  const FusionConfig original = PublicFusion();
  TowerConfig tower = video ? original.video : original.audio;
  tower.layers = layers;
  return tower;
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
