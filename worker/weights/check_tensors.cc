#include "worker/weights/check_tensors.h"

#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

// "441 tensors missing (first: a, b, c)"; nothing when there is none.
void Describe(const std::vector<std::string>& found, std::string_view kind, std::vector<std::string>& parts) {
  constexpr std::size_t kShown = 3;
  if (found.empty()) return;
  const std::size_t shown = found.size() < kShown ? found.size() : kShown;
  const std::string noun = !parts.empty() ? "" : found.size() == 1 ? " tensor" : " tensors";
  parts.push_back(
      absl::StrCat(found.size(), noun, " ", std::string(kind), " (", found.size() > 1 ? "first: " : "",
                   absl::StrJoin(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                   found.size() > shown ? ", ...)" : ")"));
}

}  // namespace

absl::Status CheckTensors(const WeightSource& source, const std::vector<TensorSpec>& expected) {
  const std::vector<TensorInfo> list = source.List();
  std::map<std::string_view, const TensorInfo*> left;  // in the file, not yet expected
  for (const TensorInfo& info : list) left.emplace(info.name, &info);

  std::vector<std::string> missing, reshaped, unexpected, unscaled;
  for (const TensorSpec& spec : expected) {
    const auto found = left.find(spec.name);
    if (found == left.end()) {
      missing.push_back(Printable(spec.name));
      continue;
    }
    const TensorInfo& info = *found->second;
    if (!(info.shape == spec.shape)) {
      reshaped.push_back(absl::StrCat(Printable(spec.name), " is ", info.shape.ToString(), ", expected ",
                                      spec.shape.ToString()));
    }
    if (info.dtype == DType::kI8 && !info.is_scaled) unscaled.push_back(Printable(spec.name));
    left.erase(found);
  }
  for (const auto& [name, info] : left) unexpected.push_back(Printable(name));

  std::vector<std::string> parts;
  Describe(missing, "missing", parts);
  Describe(unexpected, "unexpected", parts);
  Describe(reshaped, "of another shape", parts);
  Describe(unscaled, "of I8 without scales", parts);
  if (parts.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source.path(), ": not the expected model: ", absl::StrJoin(parts, ", ")));
}

}  // namespace ovi
