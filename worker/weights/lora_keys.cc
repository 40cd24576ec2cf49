#include "worker/weights/lora_keys.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "worker/weights/lora_names.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

constexpr std::size_t kNamesShown = 3;

// A delta while it is put together.
struct Draft {
  const TensorSpec* target = nullptr;
  const TensorInfo* down = nullptr;
  const TensorInfo* up = nullptr;
  const TensorInfo* alpha = nullptr;
  const TensorInfo* diff = nullptr;

  const TensorInfo*& Slot(LoraPart part) {
    switch (part) {
      case LoraPart::kDown:
        return down;
      case LoraPart::kUp:
        return up;
      case LoraPart::kAlpha:
        return alpha;
      default:
        return diff;
    }
  }
};

using Drafts = std::map<std::string_view, Draft>;

// The extents after the first `skipped`, those of 1 left out.
std::vector<std::int64_t> Extents(const Shape& shape, int skipped) {
  std::vector<std::int64_t> extents;
  for (int axis = skipped; axis < shape.rank(); ++axis) {
    if (shape[axis] != 1) extents.push_back(shape[axis]);
  }
  return extents;
}

// Of a target, as a matrix. Its shape is the model's own, so nothing overflows.
std::int64_t Rows(const Shape& shape) {
  return shape[0];
}
std::int64_t Columns(const Shape& shape) {
  return shape.elements() / std::max<std::int64_t>(shape[0], 1);
}

// (rank, in...) with the target's own extents, or with its flattened ones.
bool IsDownOf(const Shape& down, const Shape& target) {
  if (down.rank() < 2) return false;
  const std::vector<std::int64_t> extents = Extents(down, 1);
  return extents == Extents(target, 1) || extents == Extents(Shape{0, Columns(target)}, 1);
}

bool IsUpOf(const Shape& up, const Shape& target, std::int64_t rank) {
  return up.rank() >= 2 && up[0] == Rows(target) && Extents(up, 1) == Extents(Shape{0, rank}, 1);
}

// Whether the whole change would fit a tensor of this shape.
bool Fits(const Draft& draft, const Shape& target) {
  if (draft.diff != nullptr) return Extents(draft.diff->shape, 0) == Extents(target, 0);
  return target.rank() >= 2 && IsDownOf(draft.down->shape, target) &&
         IsUpOf(draft.up->shape, target, draft.down->shape[0]);
}

absl::Status Misfit(const TensorInfo& tensor, std::string_view expected, const Draft& draft,
                    const std::map<std::string_view, const TensorSpec*>& model) {
  std::string message = absl::StrCat(Printable(tensor.name), " is ", tensor.shape.ToString(), ", expected ",
                                     std::string(expected), " for ", draft.target->name, " (",
                                     draft.target->shape.ToString(), ")");
  const auto other = model.find(OtherTower(draft.target->name));
  if (other != model.end() && !(other->second->shape == draft.target->shape) &&
      Fits(draft, other->second->shape)) {
    absl::StrAppend(&message, "; it fits the other tower's ", other->second->name);
  }
  return absl::InvalidArgumentError(message);
}

absl::Status CheckShapes(const Draft& draft, const std::map<std::string_view, const TensorSpec*>& model) {
  const Shape& target = draft.target->shape;
  if (draft.diff != nullptr) {
    if (Fits(draft, target)) return absl::OkStatus();
    return Misfit(*draft.diff, target.ToString(), draft, model);
  }
  const TensorInfo& down = *draft.down;
  if (target.rank() < 2) {
    return absl::InvalidArgumentError(absl::StrCat(Printable(down.name), " is a low-rank change, but ",
                                                   draft.target->name, " is a vector (", target.ToString(),
                                                   ")"));
  }
  if (!IsDownOf(down.shape, target)) {
    return Misfit(down, absl::StrCat("(rank)x", Columns(target)), draft, model);
  }
  const std::int64_t rank = down.shape[0];
  const std::int64_t rank_max = std::max(Rows(target), Columns(target));
  if (rank < 1 || rank > rank_max) {
    return Misfit(down, absl::StrCat("a rank of 1 to ", rank_max), draft, model);
  }
  if (!IsUpOf(draft.up->shape, target, rank)) {
    return Misfit(*draft.up, absl::StrCat(Rows(target), "x", rank), draft, model);
  }
  if (draft.alpha != nullptr && draft.alpha->shape.elements() != 1) {
    return Misfit(*draft.alpha, "one number", draft, model);
  }
  return absl::OkStatus();
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF8E4M3;
}

// Trainers in Python write a whole alpha as an integer.
absl::Status CheckTypes(const Draft& draft) {
  for (const TensorInfo* tensor : {draft.down, draft.up, draft.diff}) {
    if (tensor == nullptr || IsFloat(tensor->dtype)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        Printable(tensor->name), " is ", std::string(DTypeName(tensor->dtype)), ", expected floating point"));
  }
  return absl::OkStatus();
}

absl::Status ChangedTwice(const TensorInfo& one, const TensorInfo& other, const Draft& draft) {
  return absl::InvalidArgumentError(
      absl::StrCat(Printable(one.name), " and ", Printable(other.name), " both change ", draft.target->name));
}

absl::Status Put(const TensorInfo& tensor, LoraPart part, Draft& draft) {
  const TensorInfo*& slot = draft.Slot(part);
  if (slot != nullptr) return ChangedTwice(*slot, tensor, draft);
  slot = &tensor;
  return absl::OkStatus();
}

// One whole pair, or one difference. Half of a pair is a damaged file.
absl::Status CheckParts(const Draft& draft) {
  const TensorInfo* matrix = draft.down != nullptr ? draft.down : draft.up;
  if (matrix == nullptr) return absl::OkStatus();
  if (draft.diff != nullptr) return ChangedTwice(*matrix, *draft.diff, draft);
  if (draft.down != nullptr && draft.up != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(Printable(matrix->name), " has no ",
                                                 draft.up == nullptr ? "up" : "down", " matrix beside it"));
}

absl::Status NothingMatches(const LoraMatch& match) {
  std::vector<std::string> names;
  for (const std::string& name : match.unmatched) {
    if (names.size() < kNamesShown) names.push_back(Printable(name));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no adapter for this model: none of its ", match.unmatched.size(),
                   " tensors changes one of the model's (first: ", absl::StrJoin(names, ", "), ")"));
}

std::string NameOf(const TensorInfo* tensor) {
  return tensor == nullptr ? "" : tensor->name;
}

}  // namespace

absl::StatusOr<LoraMatch> MatchLora(const std::vector<TensorInfo>& file,
                                    const std::vector<TensorSpec>& model) {
  const LoraTable table(model);
  std::map<std::string_view, const TensorSpec*> by_name;
  for (const TensorSpec& spec : model) by_name.emplace(spec.name, &spec);

  LoraMatch match;
  Drafts drafts;
  for (const TensorInfo& tensor : file) {
    if (const char* kind = UnsupportedLoraKind(tensor.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Printable(tensor.name), ": this is ", kind, ", which is not supported"));
    }
    const std::optional<LoraKey> key = ParseLoraKey(tensor.name);
    const TensorSpec* target = key ? table.Find(*key) : nullptr;
    if (target == nullptr) {
      match.unmatched.push_back(tensor.name);
      continue;
    }
    Draft& draft = drafts[target->name];
    draft.target = target;
    OVI_RETURN_IF_ERROR(Put(tensor, key->part, draft));
  }
  for (const auto& [name, draft] : drafts) {
    OVI_RETURN_IF_ERROR(CheckParts(draft));
    const bool has_pair = draft.down != nullptr;
    if (draft.alpha != nullptr && !has_pair) match.unmatched.push_back(draft.alpha->name);  // scales nothing
    if (!has_pair && draft.diff == nullptr) continue;
    OVI_RETURN_IF_ERROR(CheckTypes(draft));
    OVI_RETURN_IF_ERROR(CheckShapes(draft, by_name));
    match.deltas.push_back({.target = draft.target->name,
                            .down = NameOf(draft.down),
                            .up = NameOf(draft.up),
                            .alpha = has_pair ? NameOf(draft.alpha) : "",
                            .diff = NameOf(draft.diff)});
  }
  std::sort(match.unmatched.begin(), match.unmatched.end());
  match.matched = file.size() - match.unmatched.size();
  if (match.deltas.empty()) return NothingMatches(match);
  return match;
}

}  // namespace ovi
