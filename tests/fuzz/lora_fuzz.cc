// Any bytes as an adapter for a small model. After "#names" they are tensor names, a line each, with shapes
// that fit the model, so that the names alone decide; otherwise a weight file. Whatever matches can be merged
// into the model without reading or writing outside it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "worker/weights/convert.h"
#include "worker/weights/lora.h"
#include "worker/weights/lora_keys.h"
#include "worker/weights/safetensors.h"
#include "worker/weights/tensor_table.h"

namespace {

constexpr std::int64_t kDim = 4;

// Names as the fusion transformer has them; the fuzz build has no models.
const std::vector<ovi::TensorSpec>& Model() {
  static const auto* const model = [] {
    auto* specs = new std::vector<ovi::TensorSpec>;
    for (const std::string tower : {"video_model.", "audio_model."}) {
      for (const std::string module :
           {"blocks.0.self_attn.q", "blocks.0.self_attn.o", "blocks.0.cross_attn.k_fusion", "blocks.0.ffn.0",
            "blocks.1.ffn.2", "text_embedding.0", "head.head"}) {
        specs->push_back({tower + module + ".weight", {kDim, kDim}});
        specs->push_back({tower + module + ".bias", {kDim}});
      }
      specs->push_back({tower + "blocks.0.modulation.modulation", {1, 6, kDim}});
      specs->push_back({tower + "patch_embedding.weight", {kDim, 2, 1, 2, 2}});
    }
    return specs;
  }();
  return *model;
}

// All ones.
std::unique_ptr<ovi::WeightSource> Base() {
  static const std::vector<float> ones(64, 1.0F);
  auto table = std::make_unique<ovi::TensorTable>(ovi::WeightBytes{"model", {}, nullptr});
  for (const ovi::TensorSpec& spec : Model()) {
    OVI_CHECK(table->Add(spec.name, {ones.data(), ovi::DType::kF32, spec.shape}).ok());
  }
  return table;
}

void CheckMessage(std::string_view message) {
  OVI_CHECK(!message.empty() && message.size() < 2000);
  OVI_CHECK(message.find('\n') == std::string_view::npos && ovi::IsValidUtf8(message));
}

void TryNames(std::string_view text) {
  std::vector<ovi::TensorInfo> file;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.empty()) continue;
    file.push_back({std::string(line), ovi::DType::kF32, {kDim, kDim}, 64});
  }
  const absl::StatusOr<ovi::LoraMatch> match = ovi::MatchLora(file, Model());
  if (!match.ok()) return CheckMessage(std::string(match.status().message()));
  OVI_CHECK(!match->deltas.empty());
  OVI_CHECK(match->matched + match->unmatched.size() == file.size());
  for (const ovi::LoraDelta& delta : match->deltas) {
    OVI_CHECK(delta.diff.empty() != delta.down.empty() && delta.down.empty() == delta.up.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view kNames = "#names\n";
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with(kNames)) {
    TryNames(text.substr(kNames.size()));
    return 0;
  }
  absl::StatusOr<std::unique_ptr<ovi::WeightSource>> file =
      ovi::ParseSafetensors({"input", std::as_bytes(std::span(data, size)), nullptr});
  if (!file.ok()) return 0;
  const absl::StatusOr<ovi::LoraAdapter> adapter = ovi::MakeLora(*std::move(file), 10.0, Model());
  if (!adapter.ok()) {
    CheckMessage(std::string(adapter.status().message()));
    return 0;
  }
  const std::unique_ptr<ovi::WeightSource> merged = ovi::MergeLoras(Base(), {*adapter});
  for (const auto& [name, change] : adapter->changes) {
    const absl::StatusOr<ovi::HostTensor> tensor = merged->Find(name);
    OVI_CHECK(tensor.ok());
    for (const float value : ovi::ToFloats(*tensor)) OVI_CHECK(std::isfinite(value));
  }
  return 0;
}
