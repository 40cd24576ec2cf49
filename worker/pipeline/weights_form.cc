#include "worker/pipeline/weights_form.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/compressed_matrix.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/quantised_layout.h"
#include "worker/weights/tensor_table.h"

namespace ovi {

bool IsLowRank(const WeightSource& source) {
  const std::vector<TensorInfo> list = source.List();
  return std::any_of(list.begin(), list.end(), [](const TensorInfo& info) { return info.rank > 0; });
}

absl::StatusOr<std::int64_t> LowRankOf(const ModelFolder& model) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model.fusion_weights));
  if (!IsLowRank(*source)) return kDefaultRank;
  const auto found = source->metadata().find(std::string(kRankKey));
  const std::string text = found == source->metadata().end() ? "" : found->second;
  std::int64_t rank = 0;
  if (absl::SimpleAtoi(text, &rank) && rank >= 1 && rank <= kRankMax) return rank;
  return absl::InvalidArgumentError(absl::StrCat(source->path(), ": metadata ", std::string(kRankKey),
                                                 " must be 1 to ", kRankMax, ", got \"", Printable(text),
                                                 "\""));
}

}  // namespace ovi
