#include "worker/model/fusion_params.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

constexpr std::int64_t kAudioKernel = 7;
constexpr auto kBias = ParamLoader::Bias::kYes;

std::int64_t PatchElements(const TowerConfig& config) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : config.patch) elements *= extent;
  return elements;
}

void AddLinear(const std::string& name, std::int64_t out, std::int64_t in, std::vector<TensorSpec>& specs) {
  specs.push_back({name + ".weight", {out, in}});
  specs.push_back({name + ".bias", {out}});
}

void AddTower(const TowerConfig& c, const std::string& tower, std::vector<TensorSpec>& specs) {
  if (c.is_video()) {
    specs.push_back(
        {tower + ".patch_embedding.weight", {c.dim, c.in_dim, c.patch[0], c.patch[1], c.patch[2]}});
    specs.push_back({tower + ".patch_embedding.bias", {c.dim}});
  } else {
    const std::int64_t hidden = AudioPatchHidden(c.dim);
    specs.push_back({tower + ".patch_embedding.0.weight", {c.dim, c.in_dim, kAudioKernel}});
    specs.push_back({tower + ".patch_embedding.0.bias", {c.dim}});
    specs.push_back({tower + ".patch_embedding.2.w1.weight", {hidden, c.dim, kAudioKernel}});
    specs.push_back({tower + ".patch_embedding.2.w2.weight", {c.dim, hidden, kAudioKernel}});
    specs.push_back({tower + ".patch_embedding.2.w3.weight", {hidden, c.dim, kAudioKernel}});
  }
  AddLinear(tower + ".text_embedding.0", c.dim, c.text_dim, specs);
  AddLinear(tower + ".text_embedding.2", c.dim, c.dim, specs);
  AddLinear(tower + ".time_embedding.0", c.dim, c.freq_dim, specs);
  AddLinear(tower + ".time_embedding.2", c.dim, c.dim, specs);
  AddLinear(tower + ".time_projection.1", 6 * c.dim, c.dim, specs);
  specs.push_back({tower + ".head.modulation", {1, 2, c.dim}});
  AddLinear(tower + ".head.head", c.out_dim * PatchElements(c), c.dim, specs);
}

void AddBlock(const TowerConfig& c, const std::string& block, std::vector<TensorSpec>& specs) {
  for (const char* name : {"q", "k", "v", "o"})
    AddLinear(absl::StrCat(block, ".self_attn.", name), c.dim, c.dim, specs);
  specs.push_back({block + ".self_attn.norm_q.weight", {c.dim}});
  specs.push_back({block + ".self_attn.norm_k.weight", {c.dim}});
  specs.push_back({block + ".norm3.weight", {c.dim}});
  specs.push_back({block + ".norm3.bias", {c.dim}});
  for (const char* name : {"q", "k", "v", "o", "k_fusion", "v_fusion"}) {
    AddLinear(absl::StrCat(block, ".cross_attn.", name), c.dim, c.dim, specs);
  }
  for (const char* name : {"norm_q", "norm_k", "norm_k_fusion", "pre_attn_norm_fusion"}) {
    specs.push_back({absl::StrCat(block, ".cross_attn.", name, ".weight"), {c.dim}});
  }
  specs.push_back({block + ".cross_attn.pre_attn_norm_fusion.bias", {c.dim}});
  AddLinear(block + ".ffn.0", c.ffn_dim, c.dim, specs);
  AddLinear(block + ".ffn.2", c.dim, c.ffn_dim, specs);
  specs.push_back({block + ".modulation.modulation", {1, 6, c.dim}});
}

}  // namespace

std::int64_t AudioPatchHidden(std::int64_t dim) {
  return (2 * (4 * dim) / 3 + 255) / 256 * 256;
}

std::vector<TensorSpec> FusionTensors(const FusionConfig& config) {
  std::vector<TensorSpec> specs;
  for (const auto& [tower, name] :
       {std::pair{&config.video, "video_model"}, std::pair{&config.audio, "audio_model"}}) {
    AddTower(*tower, name, specs);
    for (std::int64_t block = 0; block < tower->layers; ++block) {
      AddBlock(*tower, absl::StrCat(name, ".blocks.", block), specs);
    }
  }
  return specs;
}

absl::StatusOr<BlockParams> LoadBlock(ParamLoader& loader, const TowerConfig& c, const std::string& tower,
                                      std::int64_t block) {
  const std::string at = absl::StrCat(tower, ".blocks.", block);
  BlockParams p;
  const auto linear = [&](const char* name, std::int64_t out, std::int64_t in,
                          LinearParams& params) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(params, loader.BlockLinear(at + name, out, in, kBias));
    return absl::OkStatus();
  };
  const auto vector = [&](const char* name, std::int64_t elements, Tensor& tensor) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(tensor, loader.Vector(at + name, elements));
    return absl::OkStatus();
  };
  OVI_RETURN_IF_ERROR(linear(".self_attn.q", c.dim, c.dim, p.self_q));
  OVI_RETURN_IF_ERROR(linear(".self_attn.k", c.dim, c.dim, p.self_k));
  OVI_RETURN_IF_ERROR(linear(".self_attn.v", c.dim, c.dim, p.self_v));
  OVI_RETURN_IF_ERROR(linear(".self_attn.o", c.dim, c.dim, p.self_o));
  OVI_RETURN_IF_ERROR(vector(".self_attn.norm_q.weight", c.dim, p.self_norm_q));
  OVI_RETURN_IF_ERROR(vector(".self_attn.norm_k.weight", c.dim, p.self_norm_k));
  OVI_RETURN_IF_ERROR(vector(".norm3.weight", c.dim, p.norm3_weight));
  OVI_RETURN_IF_ERROR(vector(".norm3.bias", c.dim, p.norm3_bias));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.q", c.dim, c.dim, p.cross_q));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.k", c.dim, c.dim, p.cross_k));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.v", c.dim, c.dim, p.cross_v));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.o", c.dim, c.dim, p.cross_o));
  OVI_RETURN_IF_ERROR(vector(".cross_attn.norm_q.weight", c.dim, p.cross_norm_q));
  OVI_RETURN_IF_ERROR(vector(".cross_attn.norm_k.weight", c.dim, p.cross_norm_k));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.k_fusion", c.dim, c.dim, p.k_fusion));
  OVI_RETURN_IF_ERROR(linear(".cross_attn.v_fusion", c.dim, c.dim, p.v_fusion));
  OVI_RETURN_IF_ERROR(vector(".cross_attn.pre_attn_norm_fusion.weight", c.dim, p.fusion_norm_weight));
  OVI_RETURN_IF_ERROR(vector(".cross_attn.pre_attn_norm_fusion.bias", c.dim, p.fusion_norm_bias));
  OVI_RETURN_IF_ERROR(vector(".cross_attn.norm_k_fusion.weight", c.dim, p.norm_k_fusion));
  OVI_RETURN_IF_ERROR(linear(".ffn.0", c.ffn_dim, c.dim, p.ffn_in));
  OVI_RETURN_IF_ERROR(linear(".ffn.2", c.dim, c.ffn_dim, p.ffn_out));
  OVI_RETURN_IF_ERROR(vector(".modulation.modulation", 6 * c.dim, p.modulation));
  return p;
}

absl::Status LoadTextEmbedding(ParamLoader& loader, const TowerConfig& c, const std::string& tower,
                               TowerParams& p) {
  OVI_ASSIGN_OR_RETURN(p.text_in, loader.Linear(tower + ".text_embedding.0", c.dim, c.text_dim, kBias));
  OVI_ASSIGN_OR_RETURN(p.text_out, loader.Linear(tower + ".text_embedding.2", c.dim, c.dim, kBias));
  return absl::OkStatus();
}

absl::Status LoadTimeEmbedding(ParamLoader& loader, const TowerConfig& c, const std::string& tower,
                               TowerParams& p) {
  OVI_ASSIGN_OR_RETURN(p.time_in, loader.Linear(tower + ".time_embedding.0", c.dim, c.freq_dim, kBias));
  OVI_ASSIGN_OR_RETURN(p.time_out, loader.Linear(tower + ".time_embedding.2", c.dim, c.dim, kBias));
  OVI_ASSIGN_OR_RETURN(p.time_projection,
                       loader.Linear(tower + ".time_projection.1", 6 * c.dim, c.dim, kBias));
  return absl::OkStatus();
}

absl::Status LoadVideoPatch(ParamLoader& loader, const TowerConfig& c, const std::string& tower,
                            TowerParams& p) {
  OVI_ASSIGN_OR_RETURN(p.patch,
                       loader.Linear(tower + ".patch_embedding", c.dim, c.in_dim * PatchElements(c), kBias));
  return absl::OkStatus();
}

absl::Status LoadAudioPatch(ParamLoader& loader, const TowerConfig& c, const std::string& tower,
                            AudioPatchLayer layer, TowerParams& p) {
  const std::int64_t hidden = AudioPatchHidden(c.dim);
  const Extent3 kernel{1, 1, kAudioKernel};
  const auto mlp = [&](const char* name, std::int64_t out, std::int64_t in) {
    return loader.Conv(tower + ".patch_embedding.2." + name, out, in, kernel, ParamLoader::Bias::kNone);
  };
  switch (layer) {
    case AudioPatchLayer::kConv: {
      OVI_ASSIGN_OR_RETURN(p.patch_conv,
                           loader.Conv(tower + ".patch_embedding.0", c.dim, c.in_dim, kernel, kBias));
      return absl::OkStatus();
    }
    case AudioPatchLayer::kW1: {
      OVI_ASSIGN_OR_RETURN(p.patch_w1, mlp("w1", hidden, c.dim));
      return absl::OkStatus();
    }
    case AudioPatchLayer::kW2: {
      OVI_ASSIGN_OR_RETURN(p.patch_w2, mlp("w2", c.dim, hidden));
      return absl::OkStatus();
    }
    case AudioPatchLayer::kW3: {
      OVI_ASSIGN_OR_RETURN(p.patch_w3, mlp("w3", hidden, c.dim));
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status LoadHead(ParamLoader& loader, const TowerConfig& c, const std::string& tower, TowerParams& p) {
  OVI_ASSIGN_OR_RETURN(p.head_modulation, loader.Vector(tower + ".head.modulation", 2 * c.dim));
  OVI_ASSIGN_OR_RETURN(p.head,
                       loader.Linear(tower + ".head.head", c.out_dim * PatchElements(c), c.dim, kBias));
  return absl::OkStatus();
}

}  // namespace ovi
