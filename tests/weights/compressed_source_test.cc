#include "worker/weights/compressed_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temp_folder.h"
#include "tests/weights/tensor_file.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/convert.h"
#include "worker/weights/inspect.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using test::TensorFile;
using testing::ElementsAre;
using testing::HasSubstr;

// One part of a matrix, and what a test may change about it.
struct Part {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  DType dtype = DType::kBF16;
};

// (2, 5): 4 bits -4..0 and 3..-1 in steps of 1/2 and 2, and the pair (1, 2)' (1 0 0 0 -8).
std::vector<Part> Parts() {
  return {{"a.weight_q4", {2, 3}, {0xdc, 0xfe, 0x00, 0x23, 0x01, 0x0f}, DType::kU8},
          {"a.weight_q4_scale", {2, 1}, {0.5F, 2}},
          {"a.weight_up", {2, 1}, {1, 2}},
          {"a.weight_down", {1, 5}, {1, 0, 0, 0, -8}}};
}

std::string FileOf(const std::vector<Part>& parts) {
  TensorFile file;
  for (const Part& part : parts) file.Add(part.name, part.shape, part.values, part.dtype);
  file.Add("a.bias", {2}, {0.5F, 1}).Add("b.weight", {1, 2}, {3, 4});
  return file.bytes();
}

absl::StatusOr<std::unique_ptr<WeightSource>> Parse(const std::string& bytes) {
  return ParseWeights({"file", std::as_bytes(std::span(bytes)), nullptr});
}

TEST(CompressedSource, ShowsAMatrixInThePlaceOfItsParts) {
  const std::string bytes = FileOf(Parts());
  const auto source = Parse(bytes);
  ASSERT_TRUE(source.ok()) << source.status();
  const std::vector<TensorInfo> list = (*source)->List();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].name, "a.bias");
  EXPECT_EQ(list[0].rank, 0);
  EXPECT_EQ(list[1].name, "a.weight");
  EXPECT_EQ(list[1].dtype, DType::kF32);
  EXPECT_EQ(list[1].shape, (Shape{2, 5}));
  EXPECT_EQ(list[1].rank, 1);
  EXPECT_EQ(list[1].bytes, 6 + 4 + 4 + 10);
  EXPECT_EQ(list[2].name, "b.weight");
  EXPECT_EQ(CheckTensors(**source, {{"a.weight", {2, 5}}, {"a.bias", {2}}, {"b.weight", {1, 2}}}),
            absl::OkStatus());
  EXPECT_EQ((*source)->Find("a.weight_q4").status().code(), absl::StatusCode::kNotFound);
}

TEST(CompressedSource, FindExpandsAndFindCompressedDoesNot) {
  const std::string bytes = FileOf(Parts());
  auto source = Parse(bytes);
  ASSERT_TRUE(source.ok()) << source.status();
  const absl::StatusOr<HostTensor> matrix = (*source)->Find("a.weight");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->dtype, DType::kF32);
  EXPECT_EQ(matrix->shape, (Shape{2, 5}));
  const std::optional<CompressedMatrix> parts = (*source)->FindCompressed("a.weight");
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->n(), 2);
  EXPECT_EQ(parts->k(), 5);
  EXPECT_EQ(parts->rank(), 1);
  EXPECT_EQ(ToFloats(parts->rows.q), Parts()[0].values);
  EXPECT_EQ(ToFloats(parts->rows.scale), Parts()[1].values);
  EXPECT_EQ(ToFloats(parts->rows.up), Parts()[2].values);
  EXPECT_EQ(ToFloats(parts->down), Parts()[3].values);
  EXPECT_FALSE((*source)->FindCompressed("b.weight").has_value());
  EXPECT_FALSE((*source)->FindCompressed("a.weight_q4").has_value());
  EXPECT_THAT(ToFloats(*(*source)->Find("b.weight")), ElementsAre(3, 4));
  source->reset();
  EXPECT_THAT(ToFloats(*matrix), ElementsAre(-2 + 1, -1.5F, -1, -0.5F, 0 - 8,  //
                                             6 + 2, 4, 2, 0, -2 - 16))
      << "a computed tensor lives as long as its owner";
}

TEST(CompressedSource, InspectSaysWhatAMatrixIsKeptAs) {
  const TempFolder folder;
  const std::string path = folder.Write("file", FileOf(Parts()));
  const absl::StatusOr<std::string> text = InspectWeights(path, false);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, testing::ContainsRegex("a.weight  *4 bit \\+ rank 1  *2x5  *24\n"));
  const absl::StatusOr<std::string> json = InspectWeights(path, true);
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_THAT(*json, HasSubstr("\"compressed_rank\": 1"));
}

TEST(CompressedSource, LeavesNamesThatOnlyLookAlike) {
  const std::string bytes =
      TensorFile().Add("gate.weight_up", {1}, {1}).Add("x_q4", {1}, {2}).Add("x_down", {1}, {3}).bytes();
  const auto source = Parse(bytes);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->List().size(), 3u);
}

TEST(CompressedSource, RefusesPartsThatDoNotBelongTogether) {
  const struct {
    const char* name;
    std::function<void(std::vector<Part>&)> change;
    const char* message;
  } rows[] = {
      {"no residual", [](auto& p) { p[0].name = "b.blocks.weight_q4"; },
       "file: tensor a.weight is compressed, but there is no a.weight_q4"},
      {"no scale", [](auto& p) { p.erase(p.begin() + 1); },
       "file: tensor a.weight is compressed, but there is no a.weight_q4_scale"},
      {"no up", [](auto& p) { p.erase(p.begin() + 2); }, "there is no a.weight_up"},
      {"no down", [](auto& p) { p.erase(p.begin() + 3); }, "there is no a.weight_down"},
      {"a residual of floats", [](auto& p) { p[0].dtype = DType::kF32; },
       "tensor a.weight_q4 is F32 2x3, expected U8 2x3"},
      {"a residual without columns", [](auto& p) { p[0].shape = {6}; },
       "a.weight_q4 is 6, expected a matrix"},
      {"a residual of other columns",
       [](auto& p) {
         p[3].shape = {1, 7};
         p[3].values.resize(7);
       },
       "tensor a.weight_q4 is U8 2x3, expected U8 2x4"},
      {"scales of f32", [](auto& p) { p[1].dtype = DType::kF32; },
       "a.weight_q4_scale is F32 2x1, expected BF16 2x1"},
      {"a scale too many",
       [](auto& p) {
         p[1].shape = {3, 1};
         p[1].values.resize(3);
       },
       "a.weight_q4_scale is BF16 3x1, expected BF16 2x1"},
      {"another rank",
       [](auto& p) {
         p[2].shape = {2, 2};
         p[2].values.resize(4);
       },
       "a.weight_up is BF16 2x2, expected BF16 2x1"},
      {"rank 0",
       [](auto& p) {
         p[3].shape = {0, 5};
         p[3].values.clear();
       },
       "a.weight_down is 0x5, expected a matrix"},
      {"a down of floats", [](auto& p) { p[3].dtype = DType::kF32; },
       "a.weight_down is F32 1x5, expected BF16"},
      {"the matrix as such too",
       [](auto& p) {
         p.push_back({"a.weight", {1}, {1}});
       },
       "tensor a.weight is there as such and compressed"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<Part> parts = Parts();
    row.change(parts);
    const std::string bytes = FileOf(parts);
    const absl::Status status = Parse(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST(RankOf, FallsWithTheSmallerSideOfAMatrix) {
  const struct {
    std::int64_t rank, n, k, expected;
  } rows[] = {{128, 3072, 3072, 128},
              {128, 14336, 3072, 128},
              {128, 4096, 4096, 128},
              {64, 3072, 14336, 64},
              {128, 128, 128, 5},
              {128, 512, 128, 5},
              {128, 128, 512, 5},
              {192, 128, 128, 8},
              {128, 1536, 3072, 64},
              {128, 16, 16, 1},
              {1, 3072, 3072, 1},
              {1, 8, 8, 1},
              {kRankMax, 3072, 3072, kRankMax}};
  for (const auto& row : rows) {
    EXPECT_EQ(RankOf(row.rank, row.n, row.k), row.expected) << row.rank << " " << row.n << "x" << row.k;
  }
}

}  // namespace
}  // namespace ovi
