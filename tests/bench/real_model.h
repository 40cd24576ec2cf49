// The real model's width for benchmarks, with weights that are made up.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"
#include "worker/model/config.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/weight_source.h"

namespace ovi::bench {

inline constexpr std::int64_t kTextRows = 512;

// One tower of the original, but for the number of blocks.
TowerConfig RealTower(bool video, std::int64_t layers = 1);

// Any tensor of the table: views of one block of random bf16 values, as large as the largest of them.
class SyntheticWeights final : public WeightSource {
 public:
  explicit SyntheticWeights(const std::vector<TensorSpec>& specs);

  const std::string& path() const override { return path_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  std::vector<TensorInfo> List() const override;
  absl::StatusOr<HostTensor> Find(std::string_view name) const override;

 private:
  std::string path_ = "synthetic";
  std::map<std::string, Shape> shapes_;
  std::map<std::string, std::string> metadata_;
  std::vector<BFloat16> values_;
};

}  // namespace ovi::bench
