#include "worker/model/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ovi {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Lt;
using Ids = std::vector<std::int32_t>;

constexpr int kMiniPieces = 431;

std::string MiniModelPath() {
  return OVI_SOURCE_DIR "/configs/models/mini-ovi/Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model";
}

std::unique_ptr<Tokenizer> Mini(TokenizerOptions options) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(MiniModelPath(), options);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TokenizerOptions MiniOptions() {
  return {.text_len = 64, .embedding_rows = kMiniPieces};
}

// ids of the original's runs in tests/golden/mini-ovi (t2v_prompt0, i2v), without the padding.
TEST(Tokenizer, GivesTheIdsOfTheReferenceRuns) {
  const std::vector<std::pair<std::string, Ids>> cases = {
      {"A red circle moves right across a black background. Audio: a low steady tone.",
       {261, 293, 277, 266, 305, 268, 260, 285, 262, 259, 264, 265, 260, 307, 271, 273, 259, 1}},
      {"A green circle moves left across a gray background. Audio: a mid steady tone.",
       {261, 295, 277, 266, 323, 268, 260, 291, 262, 259, 264, 265, 260, 309, 271, 273, 259, 1}},
      {"jitter, bad hands, blur, distortion", {337, 270, 339, 341, 270, 343, 270, 345, 1}},
      {"robotic, muffled, echo, distorted", {347, 270, 349, 270, 351, 270, 353, 1}},
      {"", {1}},
  };
  const std::unique_ptr<Tokenizer> tokenizer = Mini(MiniOptions());
  for (const auto& [text, ids] : cases) EXPECT_EQ(*tokenizer->Encode(text), ids) << text;
}

TEST(Tokenizer, CutsToTheTextLengthAndKeepsTheEnd) {
  const std::string text = "jitter, bad hands, blur, distortion";
  EXPECT_THAT(*Mini({.text_len = 3, .embedding_rows = kMiniPieces})->Encode(text), ElementsAre(337, 270, 1));
  EXPECT_THAT(*Mini({.text_len = 1, .embedding_rows = kMiniPieces})->Encode(text), ElementsAre(1));
  EXPECT_THAT(*Mini({.text_len = 9, .embedding_rows = kMiniPieces})->Encode(text),
              ElementsAre(337, 270, 339, 341, 270, 343, 270, 345, 1));
  EXPECT_THAT(*Mini({.text_len = 2, .embedding_rows = kMiniPieces, .add_eos = false})->Encode(text),
              ElementsAre(337, 270));
}

TEST(Tokenizer, MapsSpecialTokensWrittenInTheText) {
  const std::unique_ptr<Tokenizer> tokenizer = Mini(MiniOptions());
  EXPECT_THAT(*tokenizer->Encode("a</s>a"), ElementsAre(260, 1, 260, 1));
  EXPECT_THAT(*tokenizer->Encode("<pad><pad> a <unk>"), ElementsAre(0, 0, 260, 2, 1));
  EXPECT_THAT(*tokenizer->Encode("<</s>"), testing::Contains(1).Times(2));
}

TEST(Tokenizer, CountsExtraIdsDownFromTheLast) {
  const std::unique_ptr<Tokenizer> tokenizer = Mini({.embedding_rows = kMiniPieces + 300});
  EXPECT_THAT(*tokenizer->Encode("<extra_id_0>"), ElementsAre(kMiniPieces + 299, 1));
  EXPECT_THAT(*tokenizer->Encode("<extra_id_299>a"), ElementsAre(kMiniPieces, 260, 1));
  for (const char* text : {"<extra_id_300>", "<extra_id_007>", "<extra_id_>", "<extra_id_1"}) {
    EXPECT_THAT(*tokenizer->Encode(text), Each(Lt(kMiniPieces))) << text;
  }
}

TEST(Tokenizer, TakesExtraIdsAsTextWhereTheEncoderHasNoRowsForThem) {
  EXPECT_THAT(*Mini(MiniOptions())->Encode("<extra_id_0> <extra_id_299>"), Each(Lt(kMiniPieces)));
}

TEST(Tokenizer, SpeechTagsAreOrdinaryText) {
  const Ids ids = *Mini(MiniOptions())->Encode("<S>a<E>");
  EXPECT_GT(ids.size(), 4u);
  EXPECT_THAT(Ids(ids.begin(), ids.end() - 1), Each(testing::Gt(2)));
}

TEST(Tokenizer, StaysWithinTheEmbeddingOnAnyBytes) {
  const std::unique_ptr<Tokenizer> tokenizer = Mini({.text_len = 5000, .embedding_rows = kMiniPieces});
  std::string bytes;
  for (int i = 0; i < 1024; ++i) bytes.push_back(static_cast<char>(i * 37));
  EXPECT_THAT(*tokenizer->Encode(bytes), Each(testing::AllOf(testing::Ge(0), Lt(kMiniPieces))));
}

TEST(Tokenizer, RefusesWhatIsNoModel) {
  const std::string garbage = testing::TempDir() + "/garbage.model";
  std::ofstream(garbage) << "this is no model";
  const std::string empty = testing::TempDir() + "/empty.model";
  std::ofstream(empty).close();
  for (const std::string& path : {garbage, empty}) {
    const absl::Status status = Tokenizer::Load(path, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  EXPECT_EQ(Tokenizer::Load("/no/such/spiece.model", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Tokenizer::Load(testing::TempDir(), {}).ok());
}

TEST(Tokenizer, RefusesAModelThatDoesNotFitTheEncoder) {
  const absl::Status status =
      Tokenizer::Load(MiniModelPath(), {.text_len = 64, .embedding_rows = kMiniPieces - 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("pieces=431"));
  EXPECT_EQ(Tokenizer::Load(MiniModelPath(), {.text_len = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ovi
