#include "worker/job/legacy.h"

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

constexpr std::int64_t kWordBytesMax = 4096;
constexpr int kPixelsMin = 32;
constexpr int kPixelsMax = 8192;

// "job.yaml:3: fp8 is true, which contradicts vram_mode standard (job.yaml:9); remove one of the two"
absl::Status Contradiction(const Setting& one, const std::string& value, const Setting& other,
                           const std::string& other_value) {
  return one.Error(absl::StrCat("is ", value, ", which contradicts ", other.key, " ", other_value, " (",
                                other.Place(), "); remove one of the two"));
}

const char* Word(bool flag) {
  return flag ? "true" : "false";
}

// What each legacy flag is in a mode; unset where both values go with it.
struct ModeFlags {
  VramMode mode;
  std::optional<bool> fp8, cpu_offload, qint8;
};
constexpr ModeFlags kModeFlags[] = {
    {VramMode::kAuto, false, false, false},   {VramMode::kStandard, false, std::nullopt, false},
    {VramMode::kFp8, true, false, false},     {VramMode::kFp8Offload, true, true, false},
    {VramMode::kUltraLow, false, true, true},
};

// The inverse, for flags alone.
VramMode ModeOfFlags(bool fp8, bool cpu_offload, bool qint8) {
  if (qint8) return VramMode::kUltraLow;
  if (fp8) return cpu_offload ? VramMode::kFp8Offload : VramMode::kFp8;
  return cpu_offload ? VramMode::kStandard : VramMode::kAuto;
}

absl::StatusOr<Size> SizeOf(const YamlNode& height, const YamlNode& width) {
  Size size;
  const auto read = [](const char* name, const YamlNode& node, int* out) -> absl::Status {
    const absl::StatusOr<std::int64_t> pixels = YamlInteger(node, kPixelsMin, kPixelsMax);
    if (!pixels.ok()) return absl::InvalidArgumentError(absl::StrCat(name, " ", pixels.status().message()));
    *out = static_cast<int>(*pixels);
    return absl::OkStatus();
  };
  OVI_RETURN_IF_ERROR(read("height", height, &size.height));
  OVI_RETURN_IF_ERROR(read("width", width, &size.width));
  return size;
}

YamlNode PlainScalar(std::string text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.plain = true;
  node.scalar = std::move(text);
  return node;
}

absl::StatusOr<Size> YamlSize(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kSequence && node.items.size() == 2)
    return SizeOf(node.items[0], node.items[1]);
  const std::size_t x = node.scalar.find_first_of("xX");
  if (node.kind != YamlNode::Kind::kScalar || x == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "must be height and width in pixels, \"704x1280\" or [704, 1280], got ", Describe(node)));
  }
  return SizeOf(PlainScalar(node.scalar.substr(0, x)), PlainScalar(node.scalar.substr(x + 1)));
}

}  // namespace

absl::StatusOr<VramMode> ReadVramMode(const Settings& settings) {
  OVI_ASSIGN_OR_RETURN(const std::optional<bool> fp8, settings.Get("fp8", YamlBool));
  OVI_ASSIGN_OR_RETURN(const std::optional<bool> cpu_offload, settings.Get("cpu_offload", YamlBool));
  OVI_ASSIGN_OR_RETURN(const std::optional<bool> qint8, settings.Get("qint8", YamlBool));
  OVI_ASSIGN_OR_RETURN(const std::optional<VramMode> mode,
                       settings.Get("vram_mode", [](const YamlNode& node) -> absl::StatusOr<VramMode> {
                         OVI_ASSIGN_OR_RETURN(const std::string word, YamlText(node, kWordBytesMax));
                         return ParseVramMode(word);
                       }));
  if (fp8.value_or(false) && qint8.value_or(false)) {
    return Contradiction(*settings.Find("qint8"), "true", *settings.Find("fp8"), "true");
  }
  if (!mode) return ModeOfFlags(fp8.value_or(false), cpu_offload.value_or(false), qint8.value_or(false));

  for (const ModeFlags& expected : kModeFlags) {
    if (expected.mode != *mode) continue;
    const auto check = [&](const char* key, std::optional<bool> given,
                           std::optional<bool> wanted) -> absl::Status {
      if (!given || !wanted || *given == *wanted) return absl::OkStatus();
      return Contradiction(*settings.Find(key), Word(*given), *settings.Find("vram_mode"), ToString(*mode));
    };
    OVI_RETURN_IF_ERROR(check("fp8", fp8, expected.fp8));
    OVI_RETURN_IF_ERROR(check("cpu_offload", cpu_offload, expected.cpu_offload));
    OVI_RETURN_IF_ERROR(check("qint8", qint8, expected.qint8));
  }
  return *mode;
}

absl::StatusOr<GpuRequest> ReadGpuRequest(const Settings& settings) {
  OVI_ASSIGN_OR_RETURN(
      const std::optional<std::int64_t> sp_size,
      settings.Get("sp_size", [](const YamlNode& node) { return YamlInteger(node, 1, kGpuCountMax); }));
  OVI_ASSIGN_OR_RETURN(const std::optional<bool> use_fsdp, settings.Get("use_fsdp", YamlBool));
  OVI_ASSIGN_OR_RETURN(const std::optional<GpuRequest> request,
                       settings.Get("gpu_allocation", [](const YamlNode& node) -> absl::StatusOr<GpuRequest> {
                         OVI_ASSIGN_OR_RETURN(const std::string word, YamlText(node, kWordBytesMax));
                         return ParseGpuAllocation(word);
                       }));
  const int sp = static_cast<int>(sp_size.value_or(0));
  if (!request) {
    if (use_fsdp.value_or(false)) return GpuRequest{GpuAllocation::kFsdp, sp > 1 ? sp : 0};
    if (sp == 0) return GpuRequest{};
    return sp == 1 ? GpuRequest{GpuAllocation::kSingle, 1} : GpuRequest{GpuAllocation::kMulti, sp};
  }

  const Setting& allocation = *settings.Find("gpu_allocation");
  const bool fsdp = request->allocation == GpuAllocation::kFsdp;
  if (use_fsdp && *use_fsdp != fsdp) {
    return Contradiction(*settings.Find("use_fsdp"), Word(*use_fsdp), allocation, ToString(*request));
  }
  // sp_size 1 goes with every allocation that is not a count of GPUs; the guide's own YAML has it beside
  // auto.
  GpuRequest result = *request;
  if (fsdp && result.gpu_count == 0 && sp > 1) result.gpu_count = sp;
  const bool same = sp == 0 || result.gpu_count == sp || (result.gpu_count == 0 && sp == 1);
  if (!same)
    return Contradiction(*settings.Find("sp_size"), absl::StrCat(sp), allocation, ToString(*request));
  return result;
}

absl::StatusOr<std::optional<Size>> ReadSize(const Settings& settings) {
  OVI_ASSIGN_OR_RETURN(const std::optional<Size> resolution, settings.Get("resolution", YamlSize));
  OVI_ASSIGN_OR_RETURN(const std::optional<Size> frame, settings.Get("video_frame_height_width", YamlSize));
  if (resolution && frame && *resolution != *frame) {
    return Contradiction(*settings.Find("video_frame_height_width"),
                         absl::StrCat(frame->height, "x", frame->width), *settings.Find("resolution"),
                         absl::StrCat(resolution->height, "x", resolution->width));
  }
  return resolution ? resolution : frame;
}

}  // namespace ovi
