// Names of adapters in the wild: which tensor of the model each means, and what is refused.
#include "worker/weights/lora_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/weights/lora_models.h"
#include "worker/weights/lora_names.h"

namespace ovi {
namespace {

using test::ShapeOf;
using test::SmallTable;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TensorInfo Info(const std::string& name, const Shape& shape, DType dtype = DType::kF32) {
  return {.name = name, .dtype = dtype, .shape = shape, .bytes = shape.elements() * ElementBytes(dtype)};
}

// A pair of rank 2 for the tensor.
std::vector<TensorInfo> PairFor(const std::string& target, const std::string& down, const std::string& up) {
  const Shape shape = ShapeOf(target);
  return {Info(down, {2, shape.elements() / shape[0]}), Info(up, {shape[0], 2})};
}

struct Spelling {
  const char* module;  // as an adapter has it
  const char* target;  // the model's, without .weight
};

constexpr Spelling kSpellings[] = {
    // peft and diffusers' prefixes before the model's own names
    {"base_model.model.blocks.0.self_attn.q", "video_model.blocks.0.self_attn.q"},
    {"diffusion_model.blocks.1.ffn.2", "video_model.blocks.1.ffn.2"},
    {"diffusion_model.blocks.11.ffn.2", "video_model.blocks.11.ffn.2"},
    {"model.diffusion_model.blocks.1.ffn.2", "video_model.blocks.1.ffn.2"},
    {"transformer.blocks.0.cross_attn.k_fusion", "video_model.blocks.0.cross_attn.k_fusion"},
    {"pipe.dit.blocks.0.cross_attn.o", "video_model.blocks.0.cross_attn.o"},
    {"unet.blocks.0.cross_attn.o", "video_model.blocks.0.cross_attn.o"},
    {"blocks.0.ffn.0", "video_model.blocks.0.ffn.0"},
    {"text_embedding.2", "video_model.text_embedding.2"},
    {"head.head", "video_model.head.head"},
    {"patch_embedding", "video_model.patch_embedding"},
    // towers by name
    {"video_model.blocks.0.self_attn.v", "video_model.blocks.0.self_attn.v"},
    {"audio_model.blocks.0.self_attn.v", "audio_model.blocks.0.self_attn.v"},
    {"base_model.model.audio_model.head.head", "audio_model.head.head"},
    {"diffusion_model.audio_model.blocks.1.cross_attn.v_fusion", "audio_model.blocks.1.cross_attn.v_fusion"},
    // diffusers' names
    {"transformer.blocks.0.attn1.to_q", "video_model.blocks.0.self_attn.q"},
    {"transformer.blocks.0.attn1.to_k", "video_model.blocks.0.self_attn.k"},
    {"transformer.blocks.0.attn1.to_v", "video_model.blocks.0.self_attn.v"},
    {"transformer.blocks.0.attn1.to_out.0", "video_model.blocks.0.self_attn.o"},
    {"blocks.0.attn2.to_q", "video_model.blocks.0.cross_attn.q"},
    {"blocks.0.attn2.to_k", "video_model.blocks.0.cross_attn.k"},
    {"blocks.0.attn2.to_v", "video_model.blocks.0.cross_attn.v"},
    {"blocks.0.attn2.to_out.0", "video_model.blocks.0.cross_attn.o"},
    {"blocks.0.ffn.net.0.proj", "video_model.blocks.0.ffn.0"},
    {"blocks.0.ffn.net.2", "video_model.blocks.0.ffn.2"},
    {"condition_embedder.text_embedder.linear_1", "video_model.text_embedding.0"},
    {"condition_embedder.text_embedder.linear_2", "video_model.text_embedding.2"},
    {"condition_embedder.time_embedder.linear_1", "video_model.time_embedding.0"},
    {"condition_embedder.time_embedder.linear_2", "video_model.time_embedding.2"},
    {"condition_embedder.time_proj", "video_model.time_projection.1"},
    {"proj_out", "video_model.head.head"},
    {"audio_model.blocks.0.attn2.to_out.0", "audio_model.blocks.0.cross_attn.o"},
    // kohya and LyCORIS
    {"lora_unet_blocks_0_self_attn_q", "video_model.blocks.0.self_attn.q"},
    {"lora_unet_blocks_11_cross_attn_v_fusion", "video_model.blocks.11.cross_attn.v_fusion"},
    {"lora_unet__blocks_0_ffn_0", "video_model.blocks.0.ffn.0"},
    {"lora_unet_head_head", "video_model.head.head"},
    {"lora_unet_text_embedding_0", "video_model.text_embedding.0"},
    {"lora_unet_time_embedding_2", "video_model.time_embedding.2"},
    {"lora_unet_time_projection_1", "video_model.time_projection.1"},
    {"lora_unet_audio_model_blocks_0_self_attn_q", "audio_model.blocks.0.self_attn.q"},
    {"lora_unet_blocks_0_attn1_to_out_0", "video_model.blocks.0.self_attn.o"},
    {"lycoris_blocks_0_ffn_net_0_proj", "video_model.blocks.0.ffn.0"},
    {"lycoris_blocks_0_ffn_net_2", "video_model.blocks.0.ffn.2"},
    {"lycoris_blocks_0_attn2_to_out_0", "video_model.blocks.0.cross_attn.o"},
    {"lycoris_blocks_0_self_attn_k", "video_model.blocks.0.self_attn.k"},
};

TEST(LoraKeys, KnowEverySpellingOfAModule) {
  for (const Spelling& row : kSpellings) {
    SCOPED_TRACE(row.module);
    const std::string target = absl::StrCat(row.target, ".weight");
    const std::string down = absl::StrCat(row.module, ".lora_A.weight");
    const std::string up = absl::StrCat(row.module, ".lora_B.weight");
    const absl::StatusOr<LoraMatch> match = MatchLora(PairFor(target, down, up), SmallTable());
    ASSERT_TRUE(match.ok()) << match.status();
    ASSERT_EQ(match->deltas.size(), 1u);
    EXPECT_EQ(match->deltas[0].target, target);
    EXPECT_EQ(match->deltas[0].down, down);
    EXPECT_EQ(match->deltas[0].up, up);
    EXPECT_EQ(match->deltas[0].alpha, "");
    EXPECT_EQ(match->deltas[0].diff, "");
    EXPECT_EQ(match->matched, 2u);
    EXPECT_THAT(match->unmatched, IsEmpty());
  }
}

TEST(LoraKeys, KnowEveryEndingOfAPair) {
  const struct {
    const char *down, *up;
  } rows[] = {
      {".lora_A.weight", ".lora_B.weight"},
      {".lora_A.default.weight", ".lora_B.default.weight"},
      {".lora_A", ".lora_B"},
      {".lora_down.weight", ".lora_up.weight"},
      {".lora.down.weight", ".lora.up.weight"},
      {".lora.down", ".lora.up"},
      {"_lora.down.weight", "_lora.up.weight"},
      {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
      {".down.weight", ".up.weight"},
      {".down", ".up"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.down);
    const std::string module = "blocks.3.self_attn.k";
    std::vector<TensorInfo> file =
        PairFor("video_model.blocks.3.self_attn.k.weight", module + row.down, module + row.up);
    file.push_back(Info(module + ".alpha", {}));
    const absl::StatusOr<LoraMatch> match = MatchLora(file, SmallTable());
    ASSERT_TRUE(match.ok()) << match.status();
    ASSERT_EQ(match->deltas.size(), 1u);
    EXPECT_EQ(match->deltas[0].target, "video_model.blocks.3.self_attn.k.weight");
    EXPECT_EQ(match->deltas[0].down, module + row.down);
    EXPECT_EQ(match->deltas[0].up, module + row.up);
    EXPECT_EQ(match->deltas[0].alpha, module + ".alpha");
    EXPECT_THAT(match->unmatched, IsEmpty());
  }
}

TEST(LoraKeys, KnowDifferencesInFull) {
  const struct {
    const char *name, *target;
  } rows[] = {
      {"diffusion_model.blocks.0.cross_attn.norm_k.diff", "video_model.blocks.0.cross_attn.norm_k.weight"},
      {"diffusion_model.blocks.0.ffn.0.diff_b", "video_model.blocks.0.ffn.0.bias"},
      {"diffusion_model.blocks.0.norm3.diff_b", "video_model.blocks.0.norm3.bias"},
      {"diffusion_model.blocks.0.diff_m", "video_model.blocks.0.modulation.modulation"},
      {"diffusion_model.head.diff_m", "video_model.head.modulation"},
      {"diffusion_model.audio_model.blocks.0.diff_m", "audio_model.blocks.0.modulation.modulation"},
      {"diffusion_model.blocks.0.modulation.diff", "video_model.blocks.0.modulation.modulation"},
      {"video_model.blocks.0.modulation.modulation.diff", "video_model.blocks.0.modulation.modulation"},
      {"patch_embedding.diff", "video_model.patch_embedding.weight"},
      {"audio_model.patch_embedding.0.diff", "audio_model.patch_embedding.0.weight"},
      {"lora_unet_blocks_0.diff_m", "video_model.blocks.0.modulation.modulation"},
      {"lora_unet_blocks_0_self_attn_o.diff_b", "video_model.blocks.0.self_attn.o.bias"},
      {"transformer.proj_out.diff_b", "video_model.head.head.bias"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::StatusOr<LoraMatch> match = MatchLora({Info(row.name, ShapeOf(row.target))}, SmallTable());
    ASSERT_TRUE(match.ok()) << match.status();
    ASSERT_EQ(match->deltas.size(), 1u);
    EXPECT_EQ(match->deltas[0].target, row.target);
    EXPECT_EQ(match->deltas[0].diff, row.name);
    EXPECT_EQ(match->deltas[0].down, "");
  }
}

TEST(LoraKeys, TakeConvolutionsFlatOrInTheirOwnShape) {
  const std::string target = "video_model.patch_embedding.weight";  // 4x3x1x2x2
  for (const Shape& down : {Shape{2, 12}, Shape{2, 3, 1, 2, 2}, Shape{2, 3, 2, 2}}) {
    for (const Shape& up : {Shape{4, 2}, Shape{4, 2, 1, 1, 1}}) {
      const absl::StatusOr<LoraMatch> match = MatchLora(
          {Info("patch_embedding.lora_down.weight", down), Info("patch_embedding.lora_up.weight", up)},
          SmallTable());
      EXPECT_TRUE(match.ok()) << down.ToString() << " " << up.ToString() << ": " << match.status();
    }
  }
}

TEST(LoraKeys, ReportWhatTheModelDoesNotHave) {
  std::vector<TensorInfo> file = PairFor("video_model.blocks.0.ffn.0.weight", "blocks.0.ffn.0.lora_A.weight",
                                         "blocks.0.ffn.0.lora_B.weight");
  for (const char* name : {"blocks.12.ffn.0.lora_A.weight", "blocks.0.cross_attn.k_img.lora_B.weight",
                           "lora_te1_text_model_encoder.alpha", "blocks.0.ffn.0.weight", "weird",
                           "blocks.0.ffn.2.alpha", "lora_unet_blocks_0_x.diff_m"}) {
    file.push_back(Info(name, {1}));
  }
  const absl::StatusOr<LoraMatch> match = MatchLora(file, SmallTable());
  ASSERT_TRUE(match.ok()) << match.status();
  EXPECT_EQ(match->matched, 2u);
  EXPECT_THAT(match->unmatched,
              ElementsAre("blocks.0.cross_attn.k_img.lora_B.weight", "blocks.0.ffn.0.weight",
                          "blocks.0.ffn.2.alpha", "blocks.12.ffn.0.lora_A.weight",
                          "lora_te1_text_model_encoder.alpha", "lora_unet_blocks_0_x.diff_m", "weird"));
}

TEST(LoraKeys, SayWhatIsWrong) {
  const std::string a = "blocks.0.ffn.0.lora_A.weight";  // of 6x4
  const std::string b = "blocks.0.ffn.0.lora_B.weight";
  const struct {
    const char* name;
    std::vector<TensorInfo> file;
    const char* message;
  } rows[] = {
      {"nothing matches",
       {Info("down_blocks.0.attn.lora_A.weight", {2, 4}), Info("x", {1})},
       "no adapter for this model: none of its 2 tensors changes one of the model's (first: "
       "down_blocks.0.attn.lora_A.weight, x)"},
      {"an empty file", {}, "none of its 0 tensors"},
      {"a scale without a pair", {Info("blocks.0.ffn.0.alpha", {})}, "none of its 1 tensors"},
      {"DoRA",
       {Info(a, {2, 4}), Info(b, {6, 2}), Info("blocks.0.ffn.0.dora_scale", {6, 1})},
       "blocks.0.ffn.0.dora_scale: this is DoRA, which is not supported"},
      {"DoRA of peft", {Info("blocks.0.ffn.0.lora_magnitude_vector", {6})}, "this is DoRA"},
      {"LoHa", {Info("lycoris_blocks_0_ffn_0.hada_w1_a", {6, 2})}, "this is LoHa"},
      {"LoKr", {Info("lycoris_blocks_0_ffn_0.lokr_w1", {2, 2})}, "this is LoKr"},
      {"half a pair", {Info(a, {2, 4})}, "blocks.0.ffn.0.lora_A.weight has no up matrix beside it"},
      {"the other half", {Info(b, {6, 2})}, "blocks.0.ffn.0.lora_B.weight has no down matrix beside it"},
      {"wrong width",
       {Info(a, {2, 5}), Info(b, {6, 2})},
       "blocks.0.ffn.0.lora_A.weight is 2x5, expected (rank)x4 for video_model.blocks.0.ffn.0.weight (6x4)"},
      {"wrong rank",
       {Info(a, {2, 4}), Info(b, {6, 3})},
       "blocks.0.ffn.0.lora_B.weight is 6x3, expected 6x2 for video_model.blocks.0.ffn.0.weight (6x4)"},
      {"wrong height", {Info(a, {2, 4}), Info(b, {5, 2})}, "lora_B.weight is 5x2, expected 6x2"},
      {"no rank", {Info(a, {0, 4}), Info(b, {6, 0})}, "is 0x4, expected a rank of 1 to 6"},
      {"a rank above the matrix's", {Info(a, {7, 4}), Info(b, {6, 7})}, "is 7x4, expected a rank of 1 to 6"},
      {"a vector for a matrix", {Info(a, {4}), Info(b, {6, 1})}, "lora_A.weight is 4, expected (rank)x4"},
      {"a scalar", {Info(a, {}), Info(b, {6, 1})}, "lora_A.weight is scalar, expected (rank)x4"},
      {"low rank for a vector",
       {Info("blocks.0.norm3.lora_A.weight", {1, 4}), Info("blocks.0.norm3.lora_B.weight", {1, 1})},
       "is a low-rank change, but video_model.blocks.0.norm3.weight is a vector (4)"},
      {"two numbers for alpha",
       {Info(a, {2, 4}), Info(b, {6, 2}), Info("blocks.0.ffn.0.alpha", {2})},
       "blocks.0.ffn.0.alpha is 2, expected one number"},
      {"integers",
       {Info(a, {2, 4}, DType::kI8), Info(b, {6, 2})},
       "lora_A.weight is I8, expected floating point"},
      {"the same tensor twice",
       {Info("blocks.0.ffn.0.diff", {6, 4}), Info("blocks.0.ffn.net.0.proj.diff", {6, 4})},
       "blocks.0.ffn.0.diff and blocks.0.ffn.net.0.proj.diff both change video_model.blocks.0.ffn.0.weight"},
      {"a pair and a difference",
       {Info(a, {2, 4}), Info(b, {6, 2}), Info("blocks.0.ffn.0.diff", {6, 4})},
       "both change video_model.blocks.0.ffn.0.weight"},
      {"a difference of another shape",
       {Info("blocks.0.ffn.0.diff", {4, 6})},
       "blocks.0.ffn.0.diff is 4x6, expected 6x4 for video_model.blocks.0.ffn.0.weight (6x4)"},
      {"the wrong tower",  // the audio tower's head has 7 rows, the video's 12
       {Info("head.head.lora_A.weight", {2, 4}), Info("head.head.lora_B.weight", {7, 2})},
       "head.head.lora_B.weight is 7x2, expected 12x2 for video_model.head.head.weight (12x4); it fits the "
       "other tower's audio_model.head.head.weight"},
      {"the wrong tower, by name",
       {Info("audio_model.head.head.lora_A.weight", {2, 4}),
        Info("audio_model.head.head.lora_B.weight", {12, 2})},
       "it fits the other tower's video_model.head.head.weight"},
      {"the wrong tower's bias",
       {Info("head.head.diff_b", {7})},
       "head.head.diff_b is 7, expected 12 for video_model.head.head.bias (12); it fits the other tower's "
       "audio_model.head.head.bias"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::Status status = MatchLora(row.file, SmallTable()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST(LoraTable, FindsEveryTensorOfTheModelUnderItsOwnName) {
  const LoraTable table(SmallTable());
  for (const TensorSpec& spec : SmallTable()) {
    const bool bias = spec.name.ends_with(".bias");
    std::string module = spec.name;
    for (const std::string ending : {".weight", ".bias"}) {
      if (module.ends_with(ending)) module.resize(module.size() - ending.size());
    }
    const TensorSpec* found = table.Find({module, bias ? LoraPart::kDiffBias : LoraPart::kDiff});
    ASSERT_NE(found, nullptr) << spec.name;
    EXPECT_EQ(found->name, spec.name);
  }
}

}  // namespace
}  // namespace ovi
