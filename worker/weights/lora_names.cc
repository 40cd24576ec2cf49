#include "worker/weights/lora_names.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace ovi {
namespace {

constexpr std::string_view kVideo = "video_model.";
constexpr std::string_view kAudio = "audio_model.";

struct Ending {
  std::string_view text;
  LoraPart part;
};

// The longer ones first, where one is the end of another.
constexpr Ending kMatrixEndings[] = {
    {".lora_linear_layer.down", LoraPart::kDown},
    {".lora_linear_layer.up", LoraPart::kUp},
    {".lora_A", LoraPart::kDown},
    {".lora_B", LoraPart::kUp},
    {".lora_down", LoraPart::kDown},
    {".lora_up", LoraPart::kUp},
    {".lora.down", LoraPart::kDown},
    {".lora.up", LoraPart::kUp},
    {"_lora.down", LoraPart::kDown},
    {"_lora.up", LoraPart::kUp},
    {".down", LoraPart::kDown},
    {".up", LoraPart::kUp},
};
constexpr Ending kOtherEndings[] = {
    {".alpha", LoraPart::kAlpha},
    {".diff", LoraPart::kDiff},
    {".diff_b", LoraPart::kDiffBias},
    {".diff_m", LoraPart::kModulation},
};

constexpr std::string_view kPrefixes[] = {"diffusion_model.",  "transformer.", "pipe.dit.",
                                          "base_model.model.", "model.",       "unet."};
constexpr std::string_view kUnderscoredPrefixes[] = {"lora_unet_", "lycoris_"};

// Our modules and diffusers' names for them, inside a block and outside.
constexpr std::pair<std::string_view, std::string_view> kInBlock[] = {
    {".self_attn.q", ".attn1.to_q"},
    {".self_attn.k", ".attn1.to_k"},
    {".self_attn.v", ".attn1.to_v"},
    {".self_attn.o", ".attn1.to_out.0"},
    {".self_attn.norm_q", ".attn1.norm_q"},
    {".self_attn.norm_k", ".attn1.norm_k"},
    {".cross_attn.q", ".attn2.to_q"},
    {".cross_attn.k", ".attn2.to_k"},
    {".cross_attn.v", ".attn2.to_v"},
    {".cross_attn.o", ".attn2.to_out.0"},
    {".cross_attn.norm_q", ".attn2.norm_q"},
    {".cross_attn.norm_k", ".attn2.norm_k"},
    {".ffn.0", ".ffn.net.0.proj"},
    {".ffn.2", ".ffn.net.2"},
    {".modulation.modulation", ".modulation"}  // ComfyUI's
};
constexpr std::pair<std::string_view, std::string_view> kOutsideBlocks[] = {
    {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
    {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
    {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
    {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
    {"time_projection.1", "condition_embedder.time_proj"},
    {"head.head", "proj_out"},
};

bool StripEnd(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  text.remove_suffix(end.size());
  return true;
}

bool StripStart(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

template <typename Endings>
std::optional<LoraKey> StripEnding(std::string_view name, const Endings& endings) {
  for (const Ending& ending : endings) {
    std::string_view module = name;
    if (StripEnd(module, ending.text) && !module.empty()) return LoraKey{std::string(module), ending.part};
  }
  return std::nullopt;
}

std::string Underscored(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}

// What others call a module of a tower; "" where they have our name for it.
std::string OtherName(std::string_view module) {
  for (const auto& [ours, theirs] : kOutsideBlocks) {
    if (module == ours) return std::string(theirs);
  }
  for (const auto& [ours, theirs] : kInBlock) {
    std::string_view block = module;
    if (StripEnd(block, ours)) return absl::StrCat(std::string(block), std::string(theirs));
  }
  return "";
}

std::vector<std::string> Spellings(std::string_view module) {
  std::string_view rest = module;
  const bool video = StripStart(rest, kVideo);
  const std::string_view tower = video ? kVideo : StripStart(rest, kAudio) ? kAudio : "";
  std::vector<std::string> spellings;
  for (const std::string& name : {std::string(rest), OtherName(rest)}) {
    if (name.empty()) continue;
    spellings.push_back(absl::StrCat(std::string(tower), name));
    if (video) spellings.push_back(name);
  }
  return spellings;
}

std::string_view WithoutPrefixes(std::string_view name) {
  while (std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&name](std::string_view prefix) { return StripStart(name, prefix); })) {
  }
  return name;
}

}  // namespace

std::optional<LoraKey> ParseLoraKey(std::string_view name) {
  if (std::optional<LoraKey> key = StripEnding(name, kOtherEndings)) return key;
  StripEnd(name, ".weight");
  StripEnd(name, ".default");  // peft's name for its first adapter
  return StripEnding(name, kMatrixEndings);
}

const char* UnsupportedLoraKind(std::string_view name) {
  constexpr std::pair<std::string_view, const char*> kMarks[] = {
      {".dora_scale", "DoRA"}, {".lora_magnitude_vector", "DoRA"},        {".hada_w", "LoHa"},
      {".lokr_w", "LoKr"},     {".lora_mid", "LoCon with a Tucker core"}, {".oft_blocks", "OFT"},
      {".oft_diag", "OFT"},
  };
  for (const auto& [mark, kind] : kMarks) {
    if (name.find(mark) != std::string_view::npos) return kind;
  }
  return nullptr;
}

LoraTable::LoraTable(const std::vector<TensorSpec>& model) {
  // Two modules of one spelling would be a mistake in the model's own names: adapters could not tell them
  // apart.
  const auto add = [](Modules& modules, std::string name, const TensorSpec* Module::*field,
                      const TensorSpec* spec) {
    const TensorSpec*& entry = modules[std::move(name)].*field;
    OVI_CHECK(entry == nullptr || entry == spec);
    entry = spec;
  };
  for (const TensorSpec& spec : model) {
    std::string_view module = spec.name;
    const bool bias = StripEnd(module, ".bias");
    if (!bias) StripEnd(module, ".weight");  // a modulation has neither
    for (const std::string& name : Spellings(module)) {
      add(underscored_, Underscored(name), bias ? &Module::bias : &Module::weight, &spec);
      add(dotted_, name, bias ? &Module::bias : &Module::weight, &spec);
    }
  }
}

const LoraTable::Module* LoraTable::FindModule(std::string_view name) const {
  if (const auto found = dotted_.find(WithoutPrefixes(name)); found != dotted_.end()) return &found->second;
  for (const std::string_view prefix : kUnderscoredPrefixes) {
    std::string_view rest = name;
    if (!StripStart(rest, prefix)) continue;
    StripStart(rest, "_");
    const auto found = underscored_.find(Underscored(rest));
    return found == underscored_.end() ? nullptr : &found->second;
  }
  return nullptr;
}

const TensorSpec* LoraTable::Find(const LoraKey& key) const {
  const Module* module =
      FindModule(key.part == LoraPart::kModulation ? absl::StrCat(key.module, ".modulation") : key.module);
  if (module == nullptr) return nullptr;
  return key.part == LoraPart::kDiffBias ? module->bias : module->weight;
}

std::string OtherTower(std::string_view name) {
  if (StripStart(name, kVideo)) return absl::StrCat(std::string(kAudio), std::string(name));
  if (StripStart(name, kAudio)) return absl::StrCat(std::string(kVideo), std::string(name));
  return "";
}

}  // namespace ovi
