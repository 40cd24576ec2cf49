#include "worker/job/job_spec.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/text.h"

namespace ovi {
namespace {

// One table an enum, both directions.
template <typename Enum>
struct Word {
  Enum value;
  const char* word;
};

constexpr Word<Mode> kModes[] = {{Mode::kT2v, "t2v"}, {Mode::kI2v, "i2v"}};
constexpr Word<SolverKind> kSolvers[] = {
    {SolverKind::kUniPc, "unipc"}, {SolverKind::kDpmPlusPlus, "dpm++"}, {SolverKind::kEuler, "euler"}};
constexpr Word<VramMode> kVramModes[] = {{VramMode::kAuto, ToString(VramMode::kAuto)},
                                         {VramMode::kStandard, ToString(VramMode::kStandard)},
                                         {VramMode::kFp8, ToString(VramMode::kFp8)},
                                         {VramMode::kFp8Offload, ToString(VramMode::kFp8Offload)},
                                         {VramMode::kUltraLow, ToString(VramMode::kUltraLow)}};
constexpr Word<GpuAllocation> kGpuAllocations[] = {{GpuAllocation::kAuto, "auto"},
                                                   {GpuAllocation::kSingle, "single"},
                                                   {GpuAllocation::kMulti, "multi"},
                                                   {GpuAllocation::kFsdp, "fsdp"}};
constexpr Word<Precision> kPrecisions[] = {{Precision::kReference, "reference"},
                                           {Precision::kAsExecuted, "as_executed"}};
constexpr Word<NoiseLayout> kNoiseLayouts[] = {{NoiseLayout::kElement, "element"},
                                               {NoiseLayout::kTorchCuda, "torch_cuda"}};

template <typename Enum, std::size_t count>
const char* WordOf(const Word<Enum> (&table)[count], Enum value) {
  for (const Word<Enum>& row : table) {
    if (row.value == value) return row.word;
  }
  OVI_CHECK(false);
}

template <typename Enum, std::size_t count>
absl::StatusOr<Enum> ValueOf(const Word<Enum> (&table)[count], std::string_view word) {
  std::string words;
  for (const Word<Enum>& row : table) {
    if (row.word == word) return row.value;
    absl::StrAppend(&words, words.empty() ? "" : ", ", row.word);
  }
  return absl::InvalidArgumentError(absl::StrCat("must be one of ", words, ", got ", Quoted(word)));
}

// The N of "multi_N" or "fsdp_N" after the underscore, 0 when it is no count from 2 to kGpuCountMax.
int ParseGpuCount(std::string_view digits) {
  int count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  const bool valid = error == std::errc() && end == digits.data() + digits.size() && digits.front() != '0' &&
                     count >= 2 && count <= kGpuCountMax;
  return valid ? count : 0;
}

}  // namespace

bool IsPlainName(std::string_view name) {
  return (name.empty() || name.front() != '.') && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

bool IsLoraName(std::string_view path) {
  if (path.find('/') != std::string_view::npos) return false;
  for (const std::string_view ending : {".safetensors", ".pt", ".pth", ".ckpt", ".bin"}) {
    if (path.ends_with(ending)) return false;
  }
  return true;
}

const char* ToString(Mode value) {
  return WordOf(kModes, value);
}
const char* ToString(SolverKind value) {
  return WordOf(kSolvers, value);
}
const char* ToString(GpuAllocation value) {
  return WordOf(kGpuAllocations, value);
}
const char* ToString(Precision value) {
  return WordOf(kPrecisions, value);
}
const char* ToString(NoiseLayout value) {
  return WordOf(kNoiseLayouts, value);
}

std::string ToString(const GpuRequest& request) {
  if (request.gpu_count < 2) return ToString(request.allocation);
  return absl::StrCat(ToString(request.allocation), "_", request.gpu_count);
}

absl::StatusOr<Mode> ParseMode(std::string_view word) {
  if (word == "t2i2v") {
    return absl::InvalidArgumentError(
        "t2i2v is not supported (it needs a second model, FLUX, to draw the first frame): make the image "
        "yourself and "
        "use i2v");
  }
  return ValueOf(kModes, word);
}

absl::StatusOr<SolverKind> ParseSolver(std::string_view word) {
  return ValueOf(kSolvers, word);
}
absl::StatusOr<VramMode> ParseVramMode(std::string_view word) {
  return ValueOf(kVramModes, word);
}
absl::StatusOr<Precision> ParsePrecision(std::string_view word) {
  return ValueOf(kPrecisions, word);
}
absl::StatusOr<NoiseLayout> ParseNoiseLayout(std::string_view word) {
  return ValueOf(kNoiseLayouts, word);
}

absl::StatusOr<GpuRequest> ParseGpuAllocation(std::string_view word) {
  if (word == "auto") return GpuRequest{GpuAllocation::kAuto, 0};
  if (word == "single") return GpuRequest{GpuAllocation::kSingle, 1};
  if (word == "fsdp") return GpuRequest{GpuAllocation::kFsdp, 0};
  for (const GpuAllocation allocation : {GpuAllocation::kMulti, GpuAllocation::kFsdp}) {
    const std::string prefix = absl::StrCat(ToString(allocation), "_");
    if (word.substr(0, prefix.size()) != prefix || word.size() == prefix.size()) continue;
    const int gpu_count = ParseGpuCount(word.substr(prefix.size()));
    if (gpu_count > 0) return GpuRequest{allocation, gpu_count};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("must be one of auto, single, multi_N, fsdp, fsdp_N with N from 2 to ", kGpuCountMax,
                   ", got ", Quoted(word)));
}

}  // namespace ovi
