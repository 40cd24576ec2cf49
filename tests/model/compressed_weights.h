// Weights whose linear layers of blocks are in the low-rank form, made in memory.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"
#include "worker/weights/compress.h"
#include "worker/weights/convert.h"
#include "worker/weights/quantised_layout.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// Borrows `base`.
class CompressedWeights final : public WeightSource {
 public:
  // `rank`: of a matrix of kRankedSide.
  explicit CompressedWeights(const WeightSource& base, std::int64_t rank = kDefaultRank) : base_(base) {
    for (const TensorInfo& info : base.List()) {
      if (!IsQuantised(info)) continue;
      const std::int64_t n = info.shape[0], k = info.shape[1];
      absl::StatusOr<LowRankSplit> split =
          SplitLowRank(ToFloats(*base.Find(info.name)), n, k, RankOf(rank, n, k), 1);
      OVI_CHECK(split.ok());
      splits_.emplace(info.name, *std::move(split));
    }
  }

  const std::string& path() const override { return base_.path(); }
  const std::map<std::string, std::string>& metadata() const override { return base_.metadata(); }
  std::vector<TensorInfo> List() const override { return base_.List(); }
  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    const auto found = splits_.find(name);
    if (found == splits_.end()) return base_.Find(name);
    const auto values = std::make_shared<const std::vector<float>>(Expand(found->second));
    return HostTensor{values->data(), DType::kF32, {found->second.rows, found->second.columns}, values};
  }
  std::optional<CompressedMatrix> FindCompressed(std::string_view name) const override {
    const auto found = splits_.find(name);
    return found == splits_.end() ? std::nullopt : std::optional(found->second.view());
  }

 private:
  const WeightSource& base_;
  std::map<std::string, LowRankSplit, std::less<>> splits_;
};

}  // namespace ovi
