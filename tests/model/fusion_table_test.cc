// Goal: the fusion transformer and the text encoder ask for exactly the tensors of the public checkpoints.
//
// Method: count, total size and a hash of the sorted "name shape" lines, from the specification's list of all
// 3,352 tensors. The hash of a component was computed once from that list (columns: component, name, shape,
// values) by
//   h = 0xcbf29ce484222325
//   for byte in "".join(sorted(f"{name} {shape}\n" ...)).encode(): h = (h ^ byte) * 0x100000001b3 % 2**64
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/model/public_fusion.h"
#include "worker/model/fusion_params.h"
#include "worker/model/text_encoder.h"

namespace ovi {
namespace {

struct Digest {
  std::size_t tensors = 0;
  std::int64_t values = 0;
  std::uint64_t hash = 0xcbf29ce484222325;
};

Digest DigestOf(const std::vector<TensorSpec>& specs) {
  Digest digest{.tensors = specs.size()};
  std::vector<std::string> lines;
  for (const TensorSpec& spec : specs) {
    digest.values += spec.shape.elements();
    lines.push_back(spec.name + " " + spec.shape.ToString() + "\n");
  }
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) {
    for (const char c : line) digest.hash = (digest.hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return digest;
}

TEST(FusionTensors, AreThoseOfThePublicCheckpoint) {
  const Digest digest = DigestOf(FusionTensors(PublicFusion()));
  EXPECT_EQ(digest.tensors, 2073u);
  EXPECT_EQ(digest.values, 11'660'753'108);
  EXPECT_EQ(digest.hash, 0xb0568aecc1008852u);
}

TEST(FusionTensors, FollowEveryDimension) {
  // Each dimension of its own, so that no two can be mistaken for one another.
  FusionConfig config = PublicFusion();
  config.video = {.dim = 36,
                  .ffn_dim = 50,
                  .freq_dim = 14,
                  .heads = 3,
                  .layers = 1,
                  .text_len = 9,
                  .text_dim = 11,
                  .in_dim = 5,
                  .out_dim = 7,
                  .patch = {1, 2, 3}};
  config.audio.layers = 0;
  const std::vector<TensorSpec> specs = FusionTensors(config);
  const auto shape_of = [&](const std::string& name) -> std::string {
    for (const TensorSpec& spec : specs) {
      if (spec.name == "video_model." + name) return spec.shape.ToString();
    }
    return "missing";
  };
  EXPECT_EQ(shape_of("patch_embedding.weight"), "36x5x1x2x3");
  EXPECT_EQ(shape_of("head.head.weight"), "42x36");
  EXPECT_EQ(shape_of("text_embedding.0.weight"), "36x11");
  EXPECT_EQ(shape_of("time_embedding.0.weight"), "36x14");
  EXPECT_EQ(shape_of("time_projection.1.bias"), "216");
  EXPECT_EQ(shape_of("blocks.0.ffn.0.weight"), "50x36");
  EXPECT_EQ(shape_of("blocks.0.ffn.2.weight"), "36x50");
  EXPECT_EQ(shape_of("blocks.1.ffn.0.weight"), "missing");
}

TEST(FusionTensors, RoundTheAudioPatchUp) {
  EXPECT_EQ(AudioPatchHidden(3072), 8192) << "two thirds of 12288, a multiple of 256 already";
  EXPECT_EQ(AudioPatchHidden(96), 256);
  EXPECT_EQ(AudioPatchHidden(97), 512);
  EXPECT_EQ(AudioPatchHidden(128), 512);
}

TEST(TextTensors, AreThoseOfThePublicCheckpoint) {
  const TextConfig config{
      .vocab = 256384, .dim = 4096, .dim_attn = 4096, .dim_ffn = 10240, .heads = 64, .layers = 24};
  const Digest digest = DigestOf(TextTensors(config));
  EXPECT_EQ(digest.tensors, 242u);
  EXPECT_EQ(digest.values, 5'680'910'336);
  EXPECT_EQ(digest.hash, 0xfdfe465a68b4884au);
}

TEST(TextTensors, FollowEveryDimension) {
  const TextConfig config{
      .vocab = 13, .dim = 6, .dim_attn = 8, .dim_ffn = 10, .heads = 2, .layers = 1, .buckets = 16};
  std::vector<std::string> lines;
  for (const TensorSpec& spec : TextTensors(config)) lines.push_back(spec.name + " " + spec.shape.ToString());
  EXPECT_THAT(lines,
              ::testing::UnorderedElementsAre(
                  "token_embedding.weight 13x6", "norm.weight 6", "blocks.0.norm1.weight 6",
                  "blocks.0.norm2.weight 6", "blocks.0.attn.q.weight 8x6", "blocks.0.attn.k.weight 8x6",
                  "blocks.0.attn.v.weight 8x6", "blocks.0.attn.o.weight 6x8",
                  "blocks.0.ffn.gate.0.weight 10x6", "blocks.0.ffn.fc1.weight 10x6",
                  "blocks.0.ffn.fc2.weight 6x10", "blocks.0.pos_embedding.embedding.weight 16x2"));
}

}  // namespace
}  // namespace ovi
