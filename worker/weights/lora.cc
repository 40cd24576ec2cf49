#include "worker/weights/lora.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cpu/parallel.h"
#include "worker/weights/convert.h"
#include "worker/weights/lora_keys.h"
#include "worker/weights/low_rank.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

// With these, ranks below 2^20 and strengths up to 10, no product leaves the range of f32.
constexpr float kValueMax = 65'504;
constexpr float kAlphaMax = 65'536;

absl::Status CheckValues(const HostTensor& tensor, std::string_view name, float max) {
  constexpr std::int64_t kChunk = 64 * 1024;
  std::vector<float> chunk;
  for (std::int64_t begin = 0; begin < tensor.elements(); begin += kChunk) {
    chunk.resize(static_cast<std::size_t>(std::min(kChunk, tensor.elements() - begin)));
    ToFloats(tensor, begin, chunk);
    for (const float value : chunk) {
      if (std::abs(value) <= max) continue;  // NaN is not
      return absl::InvalidArgumentError(absl::StrCat(Printable(name), " has the value ", value,
                                                     ", expected finite numbers of at most ", max));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<HostTensor> FindValues(const WeightSource& file, const std::string& name, float max) {
  OVI_ASSIGN_OR_RETURN(const HostTensor tensor, file.Find(name));
  OVI_RETURN_IF_ERROR(CheckValues(tensor, name, max));
  return tensor;
}

absl::StatusOr<LoraChange> ReadChange(const WeightSource& file, const LoraDelta& delta, double strength) {
  LoraChange change;
  if (!delta.diff.empty()) {
    OVI_ASSIGN_OR_RETURN(change.diff, FindValues(file, delta.diff, kValueMax));
    change.factor = static_cast<float>(strength);
    return change;
  }
  OVI_ASSIGN_OR_RETURN(change.down, FindValues(file, delta.down, kValueMax));
  OVI_ASSIGN_OR_RETURN(change.up, FindValues(file, delta.up, kValueMax));
  double scale = 1;
  if (!delta.alpha.empty()) {
    OVI_ASSIGN_OR_RETURN(const HostTensor alpha, FindValues(file, delta.alpha, kAlphaMax));
    scale = static_cast<double>(ToFloats(alpha)[0]) / static_cast<double>(change.down.shape[0]);
  }
  change.factor = static_cast<float>(strength * scale);
  return change;
}

absl::StatusOr<LoraAdapter> Match(const std::shared_ptr<const WeightSource>& file, double strength,
                                  const std::vector<TensorSpec>& model) {
  OVI_ASSIGN_OR_RETURN(LoraMatch match, MatchLora(file->List(), model));
  LoraAdapter adapter{.path = file->path(), .strength = strength, .file = file};
  for (const LoraDelta& delta : match.deltas) {
    OVI_ASSIGN_OR_RETURN(adapter.changes[delta.target], ReadChange(*file, delta, strength));
  }
  adapter.matched = match.matched;
  adapter.unmatched = std::move(match.unmatched);
  return adapter;
}

std::int64_t Columns(const LoraChange& change) {
  return change.down.elements() / change.down.shape[0];
}

std::int64_t Elements(const LoraChange& change) {
  return change.diff.data != nullptr ? change.diff.elements() : change.up.shape[0] * Columns(change);
}

void Apply(const LoraChange& change, std::span<float> values) {
  if (change.diff.data != nullptr) return AddScaled(ToFloats(change.diff), change.factor, values);
  AddLowRank(ToFloats(change.up), ToFloats(change.down), change.factor, change.up.shape[0], Columns(change),
             change.down.shape[0], values);
}

// ToFloats on the CPU backend's threads.
void WidenAll(const HostTensor& tensor, std::span<float> values) {
  constexpr std::int64_t kGrain = 1 << 20;
  cpu::ParallelFor(tensor.elements(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    ToFloats(tensor, begin,
             values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
  });
}

class MergedSource final : public WeightSource {
 public:
  MergedSource(std::unique_ptr<WeightSource> base, std::vector<LoraAdapter> adapters)
      : base_(std::move(base)), adapters_(std::move(adapters)) {}

  const std::string& path() const override { return base_->path(); }
  const std::map<std::string, std::string>& metadata() const override { return base_->metadata(); }

  std::vector<TensorInfo> List() const override {
    std::vector<TensorInfo> list = base_->List();
    for (TensorInfo& info : list) {
      if (ChangesOf(info.name).empty()) continue;
      info.dtype = DType::kF32;
      info.is_scaled = false;
      info.rank = 0;
      info.bytes = info.shape.elements() * ElementBytes(info.dtype);
    }
    return list;
  }

  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    OVI_ASSIGN_OR_RETURN(HostTensor tensor, base_->Find(name));
    const std::vector<const LoraChange*> changes = ChangesOf(name);
    if (changes.empty()) return tensor;
    OVI_RETURN_IF_ERROR(CheckBase(tensor, name, changes));
    const auto count = static_cast<std::size_t>(tensor.elements());
    const std::shared_ptr<float[]> values(new float[count]);  // not zeroed first: up to 0.7 GB
    WidenAll(tensor, {values.get(), count});
    for (const LoraChange* change : changes) Apply(*change, {values.get(), count});
    return HostTensor{values.get(), DType::kF32, tensor.shape, values};
  }

 private:
  std::vector<const LoraChange*> ChangesOf(std::string_view name) const {
    std::vector<const LoraChange*> changes;
    for (const LoraAdapter& adapter : adapters_) {
      const auto found = adapter.changes.find(name);
      if (found != adapter.changes.end()) changes.push_back(&found->second);
    }
    return changes;
  }

  // The file may be another than the model's configuration promises, or quantised in a way of its own.
  absl::Status CheckBase(const HostTensor& tensor, std::string_view name,
                         const std::vector<const LoraChange*>& changes) const {
    constexpr std::array kFloats = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3};
    const bool is_float = std::find(kFloats.begin(), kFloats.end(), tensor.dtype) != kFloats.end();
    if (!is_float && tensor.row_scale == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(path(), ": ", Printable(name), " is ", std::string(DTypeName(tensor.dtype)),
                       "; adapters can be merged into floating point and quantised matrices "
                       "with scales only"));
    }
    for (const LoraChange* change : changes) {
      if (Elements(*change) == tensor.elements()) continue;
      return absl::InvalidArgumentError(absl::StrCat(path(), ": ", Printable(name), " has ",
                                                     tensor.elements(), " values, the adapter changes ",
                                                     Elements(*change)));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<WeightSource> base_;
  std::vector<LoraAdapter> adapters_;
};

}  // namespace

absl::StatusOr<LoraAdapter> OpenLora(const std::string& path, double strength,
                                     const std::vector<TensorSpec>& model) {
  OVI_ASSIGN_OR_RETURN(const std::shared_ptr<const WeightSource> file, OpenWeights(path));
  return MakeLora(file, strength, model);
}

absl::StatusOr<LoraAdapter> MakeLora(const std::shared_ptr<const WeightSource>& file, double strength,
                                     const std::vector<TensorSpec>& model) {
  absl::StatusOr<LoraAdapter> adapter = Match(file, strength, model);
  if (!adapter.ok()) return Annotate(adapter.status(), file->path());
  return adapter;
}

std::string DescribeMatch(const LoraAdapter& adapter) {
  return absl::StrCat(adapter.path, ": ", adapter.matched, " of ", adapter.matched + adapter.unmatched.size(),
                      " tensors used, ", adapter.changes.size(), " of the model's changed");
}

std::string UnmatchedWarning(const LoraAdapter& adapter) {
  constexpr std::size_t kShown = 3;
  const std::size_t count = adapter.unmatched.size();
  if (count == 0) return "";
  std::string names;
  for (std::size_t i = 0; i < std::min(count, kShown); ++i) {
    absl::StrAppend(&names, i > 0 ? ", " : "", Printable(adapter.unmatched[i]));
  }
  return absl::StrCat(DescribeMatch(adapter), "; without effect: ", names, count > kShown ? ", ..." : "");
}

std::unique_ptr<WeightSource> MergeLoras(std::unique_ptr<WeightSource> base,
                                         std::vector<LoraAdapter> adapters) {
  if (adapters.empty()) return base;
  return std::make_unique<MergedSource>(std::move(base), std::move(adapters));
}

}  // namespace ovi
