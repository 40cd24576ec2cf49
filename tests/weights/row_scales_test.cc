// Goal: a quantised matrix and its scales are one tensor, whoever wrote the file; whatever does not fit
// together is refused with its name.
#include "worker/weights/row_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

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
using testing::ElementsAreArray;
using testing::HasSubstr;

// Keeps the bytes that the source is a view of.
class RowScales : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<WeightSource>> Parse(const TensorFile& file) {
    bytes_ = file.bytes();
    return ParseWeights({"model.safetensors", test::AsBytes(bytes_), nullptr});
  }

  std::string bytes_;
};

std::vector<std::string> Names(const WeightSource& source) {
  std::vector<std::string> names;
  for (const TensorInfo& info : source.List()) names.push_back(info.name);
  return names;
}

const std::vector<float> kStored = {1, 2, -3, 4, 5, -6};  // 2x3

TEST_F(RowScales, EveryFormOfScaleIsPartOfItsMatrix) {
  const std::vector<float> by_row = {0.5f, 1, -1.5f, 8, 10, -12}, by_tensor = {0.5f, 1, -1.5f, 2, 2.5f, -3};
  const struct {
    const char* name;
    const char* scale_name;
    std::vector<std::int64_t> shape;
    DType dtype;
    std::vector<float> expected;
  } rows[] = {
      {"a scale a row", "a.weight_scale", {2}, DType::kF32, by_row},
      {"a column of scales", "a.weight_scale", {2, 1}, DType::kF32, by_row},
      {"in bf16", "a.weight_scale", {2}, DType::kBF16, by_row},
      {"in f16", "a.weight_scale", {2, 1, 1}, DType::kF16, by_row},
      {"one for all", "a.weight_scale", {}, DType::kF32, by_tensor},
      {"one for all in bf16", "a.weight_scale", {1}, DType::kBF16, by_tensor},
      {"ComfyUI's name", "a.scale_weight", {}, DType::kF32, by_tensor},
      {"ComfyUI's name by row", "a.scale_weight", {2, 1}, DType::kF32, by_row},
  };
  for (const auto& row : rows) {
    for (const DType matrix : {DType::kF8E4M3, DType::kI8}) {
      SCOPED_TRACE(std::string(row.name) + " " + std::string(DTypeName(matrix)));
      const std::vector<float> scales =
          row.expected == by_row ? std::vector<float>{0.5f, 2} : std::vector<float>{0.5f};
      const auto source = Parse(TensorFile()
                                    .Add("a.bias", {2}, {1, 2}, DType::kBF16)
                                    .Add("a.weight", {2, 3}, kStored, matrix)
                                    .Add(row.scale_name, row.shape, scales, row.dtype));
      ASSERT_TRUE(source.ok()) << source.status();
      EXPECT_THAT(Names(**source), ElementsAre("a.bias", "a.weight"));
      EXPECT_FALSE((*source)->List()[0].is_scaled);
      const TensorInfo info = (*source)->List()[1];
      EXPECT_TRUE(info.is_scaled);
      EXPECT_EQ(info.dtype, matrix);
      EXPECT_EQ(info.bytes, 6);
      EXPECT_THAT(ToFloats(*(*source)->Find("a.weight")), ElementsAreArray(row.expected));
      EXPECT_EQ((*source)->Find("a.bias")->row_scale, nullptr);
      EXPECT_EQ((*source)->Find(row.scale_name).status().code(), absl::StatusCode::kNotFound);
    }
  }
}

TEST_F(RowScales, ScalesInTheFilesOwnFormAreNotCopied) {
  const auto source = Parse(
      TensorFile().Add("a.weight", {2, 3}, kStored, DType::kI8).Add("a.weight_scale", {2, 1}, {0.5f, 2}));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->Find("a.weight")->row_scale, bytes_.data() + bytes_.size() - 8);
}

TEST_F(RowScales, ARowOfAConvolutionIsItsFirstAxis) {
  const auto source = Parse(TensorFile()
                                .Add("weight", {2, 1, 1, 3, 1}, kStored, DType::kF8E4M3)
                                .Add("weight_scale", {2, 1, 1, 1, 1}, {2, 4}));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(ToFloats(*(*source)->Find("weight")), ElementsAre(2, 4, -6, 16, 20, -24));
}

TEST_F(RowScales, ComfysMarksAndActivationScalesAreNotShown) {
  const auto source = Parse(TensorFile()
                                .Add("a.weight", {2, 3}, kStored, DType::kF8E4M3)
                                .Add("a.scale_weight", {}, {1})
                                .Add("a.scale_input", {}, {0.25f})
                                .Add("b.weight", {2, 3}, kStored, DType::kF8E4M3)
                                .Add("b.input_scale", {}, {0.25f})
                                .Add("c.input_scale", {}, {0.25f})
                                .Add("scaled_fp8", {0}, {}, DType::kF8E4M3));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(Names(**source), ElementsAre("a.weight", "b.weight", "c.input_scale"));
}

TEST_F(RowScales, AFloatCastWithoutScaleStaysAsItIs) {
  const auto source = Parse(TensorFile().Add("a.weight", {2, 3}, kStored, DType::kF8E4M3));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_FALSE((*source)->List()[0].is_scaled);
  EXPECT_THAT(ToFloats(*(*source)->Find("a.weight")), ElementsAreArray(kStored));
  EXPECT_TRUE(CheckTensors(**source, {{"a.weight", {2, 3}}}).ok());
}

TEST_F(RowScales, WhatDoesNotFitTogetherIsRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const auto matrix = [](DType dtype) { return TensorFile().Add("a.weight", {2, 3}, kStored, dtype); };
  const struct {
    const char* name;
    TensorFile file;
    const char* message;
  } rows[] = {
      {"no matrix", TensorFile().Add("a.weight_scale", {2}, {1, 2}),
       "tensor a.weight_scale is a scale, but there is no a.weight"},
      {"no matrix of ComfyUI's", TensorFile().Add("a.scale_weight", {}, {1}),
       "tensor a.scale_weight is a scale, but there is no a.weight"},
      {"too many", matrix(DType::kI8).Add("a.weight_scale", {3}, {1, 2, 3}),
       "tensor a.weight_scale is 3, expected one scale, or 2 for a.weight (2x3)"},
      {"none", matrix(DType::kI8).Add("a.weight_scale", {0}, {}), "a.weight_scale is 0, expected one scale"},
      {"along the wrong axis", matrix(DType::kI8).Add("a.weight_scale", {1, 2}, {1, 2}),
       "tensor a.weight_scale is 1x2, expected one scale, or 2"},
      {"of integers", matrix(DType::kI8).Add("a.weight_scale", {2}, {1, 2}, DType::kI8),
       "tensor a.weight_scale is I8, expected a scale of F32, BF16 or F16"},
      {"negative", matrix(DType::kF8E4M3).Add("a.weight_scale", {2}, {1, -2}),
       "tensor a.weight_scale has the value -2, expected finite scales"},
      {"infinite", matrix(DType::kF8E4M3).Add("a.weight_scale", {}, {infinity}),
       "tensor a.weight_scale has the value inf"},
      {"not a number", matrix(DType::kF8E4M3).Add("a.scale_weight", {}, {nan}),
       "tensor a.scale_weight has the value nan"},
      {"of bf16", matrix(DType::kBF16).Add("a.weight_scale", {}, {1}),
       "tensor a.weight_scale: a.weight is BF16 2x3, but only matrices of F8_E4M3 and I8 have scales"},
      {"of a scalar", TensorFile().Add("a.weight", {}, {1}, DType::kI8).Add("a.weight_scale", {}, {1}),
       "tensor a.weight_scale: a.weight is I8 scalar"},
      {"two", matrix(DType::kI8).Add("a.weight_scale", {}, {1}).Add("a.scale_weight", {}, {1}),
       "tensor a.weight_scale: a.weight has another scale already"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::Status status = Parse(row.file).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("model.safetensors: tensor a."));
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

// 2^40 rows of no values take no bytes in a file, and would 4 TiB as scales.
TEST_F(RowScales, ASmallFileCannotAskForLargeScales) {
  const auto source = Parse(TensorFile()
                                .Add("a.weight", {std::int64_t{1} << 40, 0}, {}, DType::kI8)
                                .Add("a.weight_scale", {}, {1}));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_TRUE(ToFloats(*(*source)->Find("a.weight")).empty());
  const auto tall = Parse(TensorFile()
                              .Add("a.weight", {4096, 1}, std::vector<float>(4096), DType::kI8)
                              .Add("a.weight_scale", {}, {1}));
  EXPECT_EQ(tall.status().code(), absl::StatusCode::kResourceExhausted) << tall.status();
  EXPECT_THAT(std::string(tall.status().message()),
              HasSubstr("model.safetensors: tensor a.weight_scale: needs"));
}

TEST_F(RowScales, IntegersWithoutScalesAreNoWeights) {
  const std::vector<TensorSpec> expected = {{"a.weight", {2, 3}}};
  const auto bare = Parse(TensorFile().Add("a.weight", {2, 3}, kStored, DType::kI8));
  ASSERT_TRUE(bare.ok()) << bare.status();
  const absl::Status status = CheckTensors(**bare, expected);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "model.safetensors: not the expected model: 1 tensor of I8 without scales (a.weight)");
  const auto scaled =
      Parse(TensorFile().Add("a.weight", {2, 3}, kStored, DType::kI8).Add("a.weight_scale", {}, {1}));
  ASSERT_TRUE(scaled.ok()) << scaled.status();
  EXPECT_TRUE(CheckTensors(**scaled, expected).ok());
}

TEST_F(RowScales, InspectSaysWhichMatricesHaveThem) {
  const TempFolder folder;
  const std::string path = folder.Write("m", TensorFile()
                                                 .Add("a.bias", {2}, {1, 2}, DType::kBF16)
                                                 .Add("a.weight", {2, 3}, kStored, DType::kF8E4M3)
                                                 .Add("a.weight_scale", {2}, {1, 2})
                                                 .bytes());
  const auto text = InspectWeights(path, /*json=*/false);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text,
            "NAME      DTYPE           SHAPE  BYTES\n"
            "a.bias    BF16            2      4\n"
            "a.weight  F8_E4M3 scaled  2x3    6\n"
            "\n" +
                path +
                ": 2 tensors, 8 elements, 10 bytes\n"
                "BF16: 1 tensors, 2 elements, 4 bytes\n"
                "F8_E4M3 scaled: 1 tensors, 6 elements, 6 bytes\n");
  EXPECT_THAT(*InspectWeights(path, /*json=*/true), HasSubstr("\"scaled\": true"));
}

}  // namespace
}  // namespace ovi
