// How trainers name what an adapter changes: the ending says which part of the change a tensor is, the rest
// names one of the model's modules in one of several spellings. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/weights/check_tensors.h"

namespace ovi {

enum class LoraPart {
  kDown,        // A, (rank, in...)
  kUp,          // B, (out, rank)
  kAlpha,       // one number
  kDiff,        // of the weight, in full
  kDiffBias,    // of the bias, in full
  kModulation,  // of the module's modulation, in full
};

struct LoraKey {
  std::string module;  // as the file spells it
  LoraPart part = LoraPart::kDown;
};

// Nothing for a name with another ending.
//   down   .lora_A  .lora_down  .lora.down  _lora.down  .lora_linear_layer.down  .down     each as it is,
//   with up     .lora_B  .lora_up    .lora.up    _lora.up    .lora_linear_layer.up    .up       .weight or
//   .default.weight others .alpha  .diff  .diff_b  .diff_m
std::optional<LoraKey> ParseLoraKey(std::string_view name);

// What kind of adapter a tensor of this name belongs to, for kinds that are no sum of matrices we could add:
// "DoRA", "LoHa", "LoKr", "LoCon with a Tucker core", "OFT". nullptr for all other names.
const char* UnsupportedLoraKind(std::string_view name);

// The model's modules under every spelling that adapters have for them:
//   own         video_model.blocks.0.self_attn.q, the same for audio_model; without tower it is the video's,
//               since adapters of Wan2.2-TI2V-5B, whose blocks are those of the video tower, have none
//   diffusers   blocks.0.attn1.to_q, attn2 for cross_attn, to_out.0 for o, ffn.net.0.proj and ffn.net.2, ...
//   ComfyUI     blocks.0.modulation for blocks.0.modulation.modulation
//   prefixes    diffusion_model. transformer. pipe.dit. base_model.model. model. unet., also several
//   kohya       lora_unet_ or lora_unet__ before any of these, with _ for every dot; LyCORIS: lycoris_
class LoraTable {
 public:
  // `model` outlives the table.
  explicit LoraTable(const std::vector<TensorSpec>& model);

  // The model's tensor that this part of a change is for, or nullptr where the model has none.
  const TensorSpec* Find(const LoraKey& key) const;

 private:
  struct Module {
    const TensorSpec* weight = nullptr;
    const TensorSpec* bias = nullptr;
  };
  using Modules = std::map<std::string, Module, std::less<>>;

  const Module* FindModule(std::string_view name) const;

  Modules dotted_;
  Modules underscored_;
};

// The tensor of the same name in the other tower; "" for a name outside the towers.
std::string OtherTower(std::string_view name);

}  // namespace ovi
