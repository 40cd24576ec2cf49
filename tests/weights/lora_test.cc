// Adapters merged into weights, against the same sums in double.
#include "worker/weights/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/temp_folder.h"
#include "tests/weights/lora_models.h"
#include "tests/weights/tensor_file.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using test::ShapeOf;
using test::SmallTable;
using test::TensorFile;
using testing::HasSubstr;

const std::string kTarget = "video_model.blocks.0.ffn.0.weight";  // 6x4
constexpr std::int64_t kRows = 6, kColumns = 4;

// Multiples of 1/8 from -0.875 to 0.875: exact in every float type.
std::vector<float> Eighths(std::int64_t count, int seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto mixed =
        static_cast<std::uint32_t>((i + 1) * 2654435761U + static_cast<std::uint32_t>(seed) * 40503U);
    values.push_back(static_cast<float>(static_cast<int>((mixed >> 13) % 15) - 7) / 8.0F);
  }
  return values;
}

struct PairValues {
  std::int64_t rank = 0;
  std::vector<float> down, up;
};

PairValues PairOf(std::int64_t rank, int seed) {
  return {rank, Eighths(rank * kColumns, seed), Eighths(kRows * rank, seed + 1)};
}

// values += factor * up @ down, in double.
void AddReference(const PairValues& pair, double factor, std::vector<double>& values) {
  for (std::int64_t i = 0; i < kRows; ++i) {
    for (std::int64_t j = 0; j < kColumns; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < pair.rank; ++k) {
        sum += static_cast<double>(pair.up[static_cast<std::size_t>(i * pair.rank + k)]) *
               static_cast<double>(pair.down[static_cast<std::size_t>(k * kColumns + j)]);
      }
      values[static_cast<std::size_t>(i * kColumns + j)] += factor * sum;
    }
  }
}

class Lora : public testing::Test {
 protected:
  std::string Save(const TensorFile& file) {
    return folder_.Write(absl::StrCat("file", ++files_, ".safetensors"), file.bytes());
  }

  // A pair for kTarget in peft's spelling.
  std::string SavePair(const PairValues& pair, DType dtype = DType::kF32,
                       std::optional<float> alpha = std::nullopt) {
    TensorFile file;
    file.Add("blocks.0.ffn.0.lora_A.weight", {pair.rank, kColumns}, pair.down, dtype);
    file.Add("blocks.0.ffn.0.lora_B.weight", {kRows, pair.rank}, pair.up, dtype);
    if (alpha) file.Add("blocks.0.ffn.0.alpha", {}, {*alpha});
    return Save(file);
  }

  LoraAdapter Open(const std::string& path, double strength = 1.0) {
    absl::StatusOr<LoraAdapter> adapter = OpenLora(path, strength, SmallTable());
    EXPECT_TRUE(adapter.ok()) << adapter.status();
    return adapter.value_or(LoraAdapter{});
  }

  // The base model: kTarget and a tensor that no adapter here changes.
  std::unique_ptr<WeightSource> Base(DType dtype = DType::kF32) {
    TensorFile file;
    file.Add(kTarget, {kRows, kColumns}, base_, dtype);
    file.Add("other", {2}, {1, 2}, dtype);
    absl::StatusOr<std::unique_ptr<WeightSource>> source = OpenWeights(Save(file));
    EXPECT_TRUE(source.ok()) << source.status();
    return *std::move(source);
  }

  std::vector<float> MergedTarget(std::vector<LoraAdapter> adapters, DType base_dtype = DType::kF32) {
    const std::unique_ptr<WeightSource> merged = MergeLoras(Base(base_dtype), std::move(adapters));
    const absl::StatusOr<HostTensor> tensor = merged->Find(kTarget);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    if (!tensor.ok()) return {};
    EXPECT_EQ(tensor->dtype, DType::kF32);
    EXPECT_EQ(tensor->shape, (Shape{kRows, kColumns}));
    return ToFloats(*tensor);
  }

  std::vector<double> Doubles() const { return {base_.begin(), base_.end()}; }

  void ExpectNear(const std::vector<float>& merged, const std::vector<double>& expected) {
    ASSERT_EQ(merged.size(), expected.size());
    for (std::size_t i = 0; i < merged.size(); ++i) {
      EXPECT_NEAR(static_cast<double>(merged[i]), expected[i], 1e-6 * (1 + std::abs(expected[i]))) << i;
    }
  }

  TempFolder folder_;
  int files_ = 0;
  const std::vector<float> base_ = Eighths(kRows * kColumns, 99);
};

TEST_F(Lora, AddsStrengthTimesAlphaOverRankTimesTheProduct) {
  const struct {
    const char* name;
    double strength;
    std::optional<float> alpha;
    double factor;  // at rank 3
  } rows[] = {{"no alpha", 1.0, std::nullopt, 1.0},
              {"no alpha, some strength", 0.7, std::nullopt, 0.7},
              {"alpha", 1.0, 1.5F, 0.5},
              {"alpha and strength", -2.5, 12.0F, -10.0},
              {"alpha 0", 1.0, 0.0F, 0.0}};
  const PairValues pair = PairOf(3, 1);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<double> expected = Doubles();
    AddReference(pair, row.factor, expected);
    ExpectNear(MergedTarget({Open(SavePair(pair, DType::kF32, row.alpha), row.strength)}), expected);
  }
}

TEST_F(Lora, TakesEveryFloatTypeOfBaseAndAdapter) {
  const PairValues pair = PairOf(2, 5);
  std::vector<double> expected = Doubles();
  AddReference(pair, 0.5, expected);
  for (const DType base : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (const DType adapter : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
      SCOPED_TRACE(absl::StrCat(std::string(DTypeName(base)), " ", std::string(DTypeName(adapter))));
      ExpectNear(MergedTarget({Open(SavePair(pair, adapter), 0.5)}, base), expected);
    }
  }
}

TEST_F(Lora, TakesAWholeNumberAsAlpha) {
  const PairValues pair = PairOf(2, 5);
  TensorFile file;
  file.Add("lora_unet_blocks_0_ffn_0.lora_down.weight", {2, kColumns}, pair.down);
  file.Add("lora_unet_blocks_0_ffn_0.lora_up.weight", {kRows, 2}, pair.up);
  file.Add("lora_unet_blocks_0_ffn_0.alpha", {1}, {16}, DType::kI64);
  std::vector<double> expected = Doubles();
  AddReference(pair, 8, expected);
  ExpectNear(MergedTarget({Open(Save(file))}), expected);
}

TEST_F(Lora, AddsDifferencesInFull) {
  const std::vector<float> diff = Eighths(kRows * kColumns, 3);
  std::vector<double> expected = Doubles();
  for (std::size_t i = 0; i < diff.size(); ++i) expected[i] -= 1.5 * static_cast<double>(diff[i]);
  const std::string path =
      Save(TensorFile().Add("blocks.0.ffn.0.diff", {kRows, kColumns}, diff, DType::kBF16));
  ExpectNear(MergedTarget({Open(path, -1.5)}), expected);
}

TEST_F(Lora, MergesSeveralAdaptersWithTheirStrengths) {
  const PairValues one = PairOf(1, 10);
  const PairValues two = PairOf(6, 20);
  const std::vector<float> diff = Eighths(kRows * kColumns, 30);
  const std::string full = Save(TensorFile().Add("blocks.0.ffn.0.diff", {kRows, kColumns}, diff));
  std::vector<double> expected = Doubles();
  AddReference(one, 0.5, expected);
  AddReference(two, -1, expected);
  for (std::size_t i = 0; i < diff.size(); ++i) expected[i] += 2 * static_cast<double>(diff[i]);
  ExpectNear(MergedTarget({Open(SavePair(one), 0.5), Open(SavePair(two), -1), Open(full, 2)}), expected);
}

TEST_F(Lora, ChangesBiasesModulationsAndConvolutions) {
  const std::string bias = "video_model.blocks.0.norm3.bias";
  const std::string modulation = "audio_model.blocks.3.modulation.modulation";
  const std::string conv = "video_model.patch_embedding.weight";  // 4x3x1x2x2
  const std::vector<float> bias_diff = Eighths(4, 1), modulation_diff = Eighths(24, 2);
  const std::vector<float> down = Eighths(2 * 12, 3), up = Eighths(4 * 2, 4);
  const LoraAdapter adapter =
      Open(Save(TensorFile()
                    .Add("diffusion_model.blocks.0.norm3.diff_b", {4}, bias_diff)
                    .Add("diffusion_model.audio_model.blocks.3.diff_m", {1, 6, 4}, modulation_diff)
                    .Add("diffusion_model.patch_embedding.lora_down.weight", {2, 3, 1, 2, 2}, down)
                    .Add("diffusion_model.patch_embedding.lora_up.weight", {4, 2, 1, 1, 1}, up)));
  absl::StatusOr<std::unique_ptr<WeightSource>> base =
      OpenWeights(Save(TensorFile()
                           .Add(bias, {4}, {1, 1, 1, 1})
                           .Add(modulation, {1, 6, 4}, std::vector<float>(24, 1))
                           .Add(conv, {4, 3, 1, 2, 2}, std::vector<float>(48, 1))));
  ASSERT_TRUE(base.ok()) << base.status();
  const std::unique_ptr<WeightSource> merged = MergeLoras(*std::move(base), {adapter});
  const std::vector<float> new_bias = ToFloats(*merged->Find(bias));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(new_bias[i], 1 + bias_diff[i]);
  const std::vector<float> new_modulation = ToFloats(*merged->Find(modulation));
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(new_modulation[i], 1 + modulation_diff[i]);
  const absl::StatusOr<HostTensor> new_conv = merged->Find(conv);
  ASSERT_TRUE(new_conv.ok()) << new_conv.status();
  EXPECT_EQ(new_conv->shape, ShapeOf(conv));
  const std::vector<float> values = ToFloats(*new_conv);
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 12; ++j) {
      EXPECT_EQ(values[i * 12 + j], 1 + up[i * 2] * down[j] + up[i * 2 + 1] * down[12 + j]);
    }
  }
}

TEST_F(Lora, LeavesAllElseAsItIs) {
  const std::unique_ptr<WeightSource> merged = MergeLoras(Base(DType::kBF16), {Open(SavePair(PairOf(2, 1)))});
  const absl::StatusOr<HostTensor> other = merged->Find("other");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->dtype, DType::kBF16);
  EXPECT_EQ(other->owner, nullptr) << "a view of the file";
  const std::vector<TensorInfo> list = merged->List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "other");
  EXPECT_EQ(list[0].dtype, DType::kBF16);
  EXPECT_EQ(list[1].name, kTarget);
  EXPECT_EQ(list[1].dtype, DType::kF32);
  EXPECT_EQ(list[1].bytes, kRows * kColumns * 4);
  EXPECT_EQ(merged->Find("nope").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Lora, MergesIntoAQuantisedBase) {
  const PairValues pair = PairOf(2, 5);
  const std::vector<float> scales = {0.5F, 1, 2, 0.25F, 4, 0};
  for (const DType dtype : {DType::kF8E4M3, DType::kI8}) {
    SCOPED_TRACE(std::string(DTypeName(dtype)));
    std::vector<float> stored;
    std::vector<double> expected;
    for (std::size_t i = 0; i < base_.size(); ++i) {
      stored.push_back(base_[i] * 8);
      expected.push_back(static_cast<double>(stored.back() * scales[i / kColumns]));
    }
    AddReference(pair, 1, expected);
    absl::StatusOr<std::unique_ptr<WeightSource>> base =
        OpenWeights(Save(TensorFile()
                             .Add(kTarget, {kRows, kColumns}, stored, dtype)
                             .Add(kTarget + "_scale", {kRows}, scales)));
    ASSERT_TRUE(base.ok()) << base.status();
    const std::unique_ptr<WeightSource> merged = MergeLoras(*std::move(base), {Open(SavePair(pair))});
    const absl::StatusOr<HostTensor> tensor = merged->Find(kTarget);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->dtype, DType::kF32);
    EXPECT_EQ(tensor->row_scale, nullptr);
    ExpectNear(ToFloats(*tensor), expected);
    const std::vector<TensorInfo> list = merged->List();
    ASSERT_EQ(list.size(), 1u);
    EXPECT_FALSE(list[0].is_scaled);
  }
}

TEST_F(Lora, TensorsOutliveTheNextOneAndTheSource) {
  std::unique_ptr<WeightSource> merged = MergeLoras(Base(), {Open(SavePair(PairOf(2, 1)))});
  const absl::StatusOr<HostTensor> first = merged->Find(kTarget);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::vector<float> before = ToFloats(*first);
  const absl::StatusOr<HostTensor> second = merged->Find(kTarget);
  ASSERT_TRUE(second.ok());
  EXPECT_NE(first->data, second->data);
  merged.reset();
  EXPECT_EQ(ToFloats(*first), before);
  EXPECT_EQ(ToFloats(*second), before);
}

TEST_F(Lora, TellsHowMuchOfAnAdapterIsUsed) {
  const PairValues pair = PairOf(2, 1);
  TensorFile file;
  file.Add("blocks.0.ffn.0.lora_A.weight", {2, kColumns}, pair.down);
  file.Add("blocks.0.ffn.0.lora_B.weight", {kRows, 2}, pair.up);
  const std::string whole = Save(file);
  EXPECT_EQ(DescribeMatch(Open(whole)), whole + ": 2 of 2 tensors used, 1 of the model's changed");
  EXPECT_EQ(UnmatchedWarning(Open(whole)), "");
  for (const char* name : {"img_emb.a.diff", "img_emb.b.diff", "img_emb.c.diff", "img_emb.d.diff"}) {
    file.Add(name, {1}, {0});
  }
  const std::string partly = Save(file);
  EXPECT_EQ(UnmatchedWarning(Open(partly)),
            partly +
                ": 2 of 6 tensors used, 1 of the model's changed; without effect: img_emb.a.diff, "
                "img_emb.b.diff, img_emb.c.diff, ...");
}

TEST_F(Lora, RefusesFilesThatWouldSpoilTheModel) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const PairValues good = PairOf(2, 1);
  PairValues not_a_number = good;
  not_a_number.down[5] = nan;
  PairValues huge = good;
  huge.up[0] = -1e6F;
  const struct {
    const char* name;
    std::string path;
    const char* message;
  } rows[] = {
      {"NaN", SavePair(not_a_number), "blocks.0.ffn.0.lora_A.weight has the value nan"},
      {"huge", SavePair(huge),
       "blocks.0.ffn.0.lora_B.weight has the value -1e+06, expected finite numbers of at"},
      {"alpha NaN", SavePair(good, DType::kF32, nan), "blocks.0.ffn.0.alpha has the value nan"},
      {"alpha infinite", SavePair(good, DType::kF32, infinity), "blocks.0.ffn.0.alpha has the value inf"},
      {"alpha huge", SavePair(good, DType::kF32, 1e30F), "blocks.0.ffn.0.alpha has the value 1e+30"},
      {"difference infinite",
       Save(TensorFile().Add("head.diff_m", {1, 2, 4}, std::vector<float>(8, infinity))),
       "head.diff_m has the value inf"},
      {"no adapter", Save(TensorFile().Add("a.weight", {1}, {1})), "no adapter for this model"},
      {"no weight file", folder_.Write("text", "hello"), "text"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::Status status = OpenLora(row.path, 1.0, SmallTable()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(row.path));
  }
  EXPECT_EQ(OpenLora(folder_ / "nope", 1.0, SmallTable()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Lora, RefusesABaseItCannotAddTo) {
  const LoraAdapter adapter = Open(SavePair(PairOf(2, 1)));
  const struct {
    const char* name;
    TensorFile base;
    const char* message;
  } rows[] = {
      {"quantised", TensorFile().Add(kTarget, {kRows, kColumns}, std::vector<float>(24, 1), DType::kI8),
       "is I8; adapters can be merged into floating point and quantised matrices with scales only"},
      {"another size", TensorFile().Add(kTarget, {2, 2}, {1, 2, 3, 4}),
       "has 4 values, the adapter changes 24"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    absl::StatusOr<std::unique_ptr<WeightSource>> base = OpenWeights(Save(row.base));
    ASSERT_TRUE(base.ok()) << base.status();
    const absl::Status status = MergeLoras(*std::move(base), {adapter})->Find(kTarget).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

}  // namespace
}  // namespace ovi
