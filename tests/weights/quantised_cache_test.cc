// Goal: the file has exactly the values the formulas say, whatever interrupts its making and whoever else
// wants it at the same time.
#include "worker/weights/quantised_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <future>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "tests/mount.h"
#include "tests/temp_folder.h"
#include "tests/weights/tensor_file.h"
#include "worker/weights/compress.h"
#include "worker/weights/convert.h"
#include "worker/weights/file_identity.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using test::TensorFile;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto kFp8 = QuantisedFormat::kFp8;
constexpr auto kInt8 = QuantisedFormat::kInt8;
constexpr auto kLowRank = QuantisedFormat::kLowRank;

// Values of the size weights have, another in every place; every 7th row is zeros.
std::vector<float> Weights(std::int64_t rows, std::int64_t columns, std::uint32_t seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const std::uint32_t mixed = (static_cast<std::uint32_t>(i) + 1 + seed * 7919U) * 2654435761U;
    const float value = (static_cast<float>(mixed >> 8) / static_cast<float>(1U << 24) - 0.5F) * 0.1F;
    values.push_back(i / columns % 7 == 3 ? 0.0F : value);
  }
  return values;
}

// One of each kind: quantised from bf16 and from f32, a convolution's patch, kept and rounded.
TensorFile Model() {
  return TensorFile()
      .Add("a.ffn.bias", {64}, Weights(1, 64, 1), DType::kBF16)
      .Add("a.blocks.0.ffn.weight", {64, 80}, Weights(64, 80, 2), DType::kBF16)
      .Add("a.conv.weight", {64, 32, 3}, Weights(64, 96, 3), DType::kF32)
      .Add("a.blocks.0.wide.weight", {16, 512}, Weights(16, 512, 4), DType::kF32)
      .Add("a.head.weight", {8, 8}, Weights(8, 8, 5), DType::kBF16)
      .Add("v.patch_embedding.weight", {64, 16, 1, 2, 2}, Weights(64, 64, 6), DType::kBF16)
      .Add("v.modulation", {1, 6, 64}, Weights(6, 64, 7), DType::kF32);
}

const std::vector<std::string> kQuantised = {"a.blocks.0.ffn.weight", "a.blocks.0.wide.weight"};
const std::vector<std::string> kKept = {"a.conv.weight", "a.ffn.bias", "a.head.weight", "v.modulation",
                                        "v.patch_embedding.weight"};
constexpr int kTensors = 7;

absl::Status GoOn(std::int64_t, std::int64_t) {
  return absl::OkStatus();
}

std::string Read(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadSmallFile(path, 1 << 24);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.value_or("");
}

ino_t InodeOf(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

class QuantisedCache : public testing::Test {
 protected:
  std::string Ensure(QuantisedFormat format, const QuantiseProgress& progress = GoOn) {
    const absl::StatusOr<std::string> path = EnsureQuantised({source_, format}, cache_, progress);
    EXPECT_TRUE(path.ok()) << path.status();
    return path.value_or("");
  }

  // What an uninterrupted run writes, and that it is gone again.
  std::string Expected(QuantisedFormat format) {
    const std::string path = Ensure(format);
    const std::string bytes = Read(path);
    fs::remove(path);
    return bytes;
  }

  // Ends with the `count`th call of progress (from 1), so with one piece less done.
  static QuantiseProgress EndAt(int count) {
    return [calls = 0, count](std::int64_t, std::int64_t) mutable {
      return ++calls == count ? absl::CancelledError("enough") : absl::OkStatus();
    };
  }

  TempFolder folder_;
  std::string source_ = folder_.Write("model.safetensors", Model().bytes());
  std::string cache_ = folder_ / "some/cache";
};

// scale * q with q the nearest of all the format's values, ties to the even one.
float Reference(float value, float scale, QuantisedFormat format) {
  if (scale == 0) return 0;
  if (format == kInt8) return std::nearbyint(value / scale) * scale;
  float best = 0, best_distance = INFINITY;
  bool best_is_even = false;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const float level = Float8E4M3ToFloat(static_cast<std::uint8_t>(byte));
    const float distance = std::abs(level - value / scale);
    if (distance < best_distance || (distance == best_distance && !best_is_even)) {
      best = level;
      best_distance = distance;
      best_is_even = byte % 2 == 0;
    }
  }
  return best * scale;
}

TEST_F(QuantisedCache, MatricesAreWhatTheFormulasSay) {
  const auto source = OpenWeights(source_);
  ASSERT_TRUE(source.ok()) << source.status();
  for (const QuantisedFormat format : {kFp8, kInt8}) {
    SCOPED_TRACE(std::string(QuantisedFormatName(format)));
    const auto file = OpenWeights(Ensure(format));
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_EQ((*file)->List().size(), static_cast<std::size_t>(kTensors));
    for (const std::string& name : kQuantised) {
      SCOPED_TRACE(name);
      const absl::StatusOr<HostTensor> tensor = (*file)->Find(name);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      EXPECT_EQ(tensor->dtype, QuantisedDType(format));
      ASSERT_NE(tensor->row_scale, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor->row_scale) % sizeof(float), 0u);
      const std::vector<float> expected = ToFloats(*(*source)->Find(name)), values = ToFloats(*tensor);
      ASSERT_EQ(values.size(), expected.size());
      const std::size_t columns = values.size() / static_cast<std::size_t>(tensor->shape[0]);
      for (std::size_t row = 0; row * columns < values.size(); ++row) {
        float largest = 0;
        for (std::size_t i = row * columns; i < (row + 1) * columns; ++i)
          largest = std::max(largest, std::abs(expected[i]));
        const float scale = largest / (format == kFp8 ? 448.0F : 127.0F);
        for (std::size_t i = row * columns; i < (row + 1) * columns; ++i)
          ASSERT_EQ(values[i], Reference(expected[i], scale, format)) << i;
      }
    }
  }
}

template <typename T>
std::vector<T> Values(const HostTensor& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.elements()));
  std::memcpy(values.data(), tensor.data, static_cast<std::size_t>(tensor.bytes()));
  return values;
}

TEST_F(QuantisedCache, TheLowRankFormIsWhatTheCompressorMakes) {
  const auto source = OpenWeights(source_);
  ASSERT_TRUE(source.ok()) << source.status();
  for (const std::int64_t rank : {kDefaultRank, std::int64_t{400}}) {
    SCOPED_TRACE(rank);
    const std::string path = folder_ / absl::StrCat(rank);
    ASSERT_EQ(WriteQuantised({source_, kLowRank, rank}, path, GoOn), absl::OkStatus());
    const auto file = OpenWeights(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->List().size(), static_cast<std::size_t>(kTensors));
    EXPECT_EQ((*file)->metadata().at("ovi.format"), "low_rank");
    EXPECT_EQ((*file)->metadata().at("ovi.rank"), absl::StrCat(rank));
    for (const std::string& name : kQuantised) {
      SCOPED_TRACE(name);
      const HostTensor matrix = *(*source)->Find(name);
      const std::int64_t n = matrix.shape[0], k = matrix.shape[1];
      const absl::StatusOr<LowRankSplit> expected =
          SplitLowRank(ToFloats(matrix), n, k, RankOf(rank, n, k), 1);
      ASSERT_TRUE(expected.ok()) << expected.status();
      const std::optional<CompressedMatrix> parts = (*file)->FindCompressed(name);
      ASSERT_TRUE(parts.has_value());
      EXPECT_EQ(parts->rank(), RankOf(rank, n, k));
      EXPECT_EQ(Values<std::uint8_t>(parts->rows.q), expected->residual);
      EXPECT_EQ(ToFloats(parts->rows.scale), ToFloats(expected->view().rows.scale));
      EXPECT_EQ(ToFloats(parts->rows.up), ToFloats(expected->view().rows.up));
      EXPECT_EQ(ToFloats(parts->down), ToFloats(expected->view().down));
      EXPECT_EQ(ToFloats(*(*file)->Find(name)), Expand(*expected));
    }
    for (const std::string& name : kKept) EXPECT_FALSE((*file)->FindCompressed(name).has_value()) << name;
  }
}

TEST_F(QuantisedCache, IsLookedForWithoutBeingMade) {
  const auto look = [&](const QuantiseRequest& request) {
    const absl::StatusOr<std::optional<std::string>> found = FindQuantised(request, cache_);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.value_or(std::nullopt);
  };
  EXPECT_EQ(look({source_, kLowRank}), std::nullopt);
  EXPECT_THAT(folder_.Files(), ElementsAre("model.safetensors"));
  const std::string path = Ensure(kLowRank);
  EXPECT_EQ(look({source_, kLowRank}), path);
  EXPECT_EQ(look({source_, kLowRank, 64}), std::nullopt) << "another rank, another file";
  EXPECT_EQ(look({source_, kFp8}), std::nullopt);
  fs::resize_file(path, fs::file_size(path) - 1);
  EXPECT_EQ(look({source_, kLowRank}), std::nullopt) << "not the whole of it";
  EXPECT_EQ(FindQuantised({folder_ / "none", kLowRank}, cache_).status().code(), absl::StatusCode::kNotFound);
}

// 12 minutes to an hour for the original's eleven billion values, of which the embeddings are left out.
TEST(LowRankSecondsOf, CountsTheMatricesOfBlocks) {
  const TensorInfo block{"v.blocks.0.q.weight", DType::kBF16, {3072, 3072}};
  EXPECT_NEAR(LowRankSecondsOf({block}), 1.7, 1e-9);
  EXPECT_NEAR(LowRankSecondsOf({block, block, {"v.time.weight", DType::kBF16, {3072, 3072}}}), 3.4, 1e-9);
}

TEST_F(QuantisedCache, TheRestIsTheSameInBf16) {
  const auto source = OpenWeights(source_);
  ASSERT_TRUE(source.ok()) << source.status();
  const auto file = OpenWeights(Ensure(kFp8));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const std::string& name : kKept) {
    SCOPED_TRACE(name);
    const absl::StatusOr<HostTensor> tensor = (*file)->Find(name);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->dtype, DType::kBF16);
    EXPECT_EQ(tensor->row_scale, nullptr);
    EXPECT_EQ(tensor->shape, (*source)->Find(name)->shape);
    std::vector<float> expected = ToFloats(*(*source)->Find(name));
    RoundToBFloat16(expected);
    EXPECT_EQ(ToFloats(*tensor), expected);
  }
  EXPECT_THAT((*file)->metadata(),
              ElementsAre(testing::Pair("ovi.convert_version", "2"), testing::Pair("ovi.format", "fp8"),
                          testing::Pair("ovi.source", FileIdentity(source_))));
}

// As bits: a NaN is not equal to itself.
TEST_F(QuantisedCache, EveryBf16PatternPassesThrough) {
  std::vector<std::uint16_t> patterns(1 << 16);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  const std::string bytes = test::Le(patterns);
  source_ = folder_.Write(
      "bits",
      test::Safetensors(R"({"a.bias":{"dtype":"BF16","shape":[65536],"data_offsets":[0,131072]}})", bytes));
  EXPECT_TRUE(Read(Ensure(kInt8)).ends_with(bytes));
}

TEST(IsQuantised, FollowsFromNameAndShape) {
  const struct {
    const char* name;
    Shape shape;
    bool is_quantised;
  } rows[] = {{"video_model.blocks.0.ffn.0.weight", {512, 128}, true},
              {"video_model.blocks.0.self_attn.q.weight", {8, 8}, true},
              {"audio_model.head.head.weight", {32, 128}, false},
              {"video_model.time_projection.1.weight", {768, 128}, false},
              {"video_model.patch_embedding.weight", {128, 48, 1, 2, 2}, false},
              {"audio_model.patch_embedding.0.weight", {128, 20, 7}, false},
              {"audio_model.patch_embedding.2.w1.weight", {512, 128, 7}, false},
              {"video_model.blocks.0.norm3.weight", {8192}, false},
              {"video_model.blocks.0.modulation.modulation", {1, 6, 3072}, false},
              {"video_model.blocks.0.ffn.0.bias", {128, 128}, false},
              {"other.weight", {128, 48, 1, 2, 2}, false}};
  for (const auto& row : rows) {
    EXPECT_EQ(IsQuantised({row.name, DType::kBF16, row.shape}), row.is_quantised) << row.name;
  }
}

TEST_F(QuantisedCache, IsFoundTheSecondTime) {
  const std::string path = Ensure(kFp8);
  const ino_t inode = InodeOf(path);
  int calls = 0;
  EXPECT_EQ(Ensure(kFp8, [&](std::int64_t, std::int64_t) { return ++calls, absl::OkStatus(); }), path);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(InodeOf(path), inode);
  EXPECT_NE(Ensure(kInt8), path);
  EXPECT_THAT(folder_.Files(".part"), IsEmpty());
}

TEST_F(QuantisedCache, AChangedSourceIsAnotherFile) {
  const std::string path = Ensure(kFp8);
  fs::last_write_time(source_, fs::last_write_time(source_) + std::chrono::seconds(1));
  const std::string later = Ensure(kFp8);
  EXPECT_NE(later, path);
  fs::rename(source_, folder_ / "renamed");
  source_ = folder_ / "renamed";
  EXPECT_EQ(Ensure(kFp8), later) << "the name of the source is not part of it";
}

TEST_F(QuantisedCache, AFileThatIsNotWhatItShouldBeIsMadeAnew) {
  const std::string path = Ensure(kFp8);
  const std::string bytes = Read(path);
  std::string other_version = bytes;
  other_version[other_version.find("ovi.convert_version\":\"2\"") + 22] = '0';
  for (const std::string& wrong :
       {bytes.substr(0, bytes.size() - 1), bytes + "x", other_version, std::string()}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << wrong;
    EXPECT_EQ(Ensure(kFp8), path);
    EXPECT_TRUE(Read(path) == bytes);
  }
}

TEST_F(QuantisedCache, ProgressRunsFromTheHeaderToTheWholeFile) {
  std::vector<std::int64_t> done;
  std::int64_t total = 0;
  const std::string path = Ensure(kInt8, [&](std::int64_t bytes, std::int64_t all) {
    done.push_back(bytes);
    total = all;
    return absl::OkStatus();
  });
  EXPECT_EQ(total, static_cast<std::int64_t>(Read(path).size()));
  EXPECT_EQ(done.size(), kTensors + 1u);
  EXPECT_GT(done.front(), 0);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), total);
}

class QuantisedCacheOf : public QuantisedCache, public testing::WithParamInterface<QuantisedFormat> {};

INSTANTIATE_TEST_SUITE_P(Formats, QuantisedCacheOf, testing::Values(kFp8, kLowRank),
                         [](const auto& format) { return std::string(QuantisedFormatName(format.param)); });

TEST_P(QuantisedCacheOf, AnInterruptedRunIsGoneOnWith) {
  const std::string expected = Expected(GetParam());
  for (int end = 1; end <= kTensors + 1; ++end) {
    SCOPED_TRACE(end);
    std::int64_t last = 0;
    const QuantiseProgress stop = EndAt(end);
    const absl::Status status =
        EnsureQuantised({source_, GetParam()}, cache_, [&](std::int64_t bytes, std::int64_t all) {
          return last = bytes, stop(bytes, all);
        }).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
    EXPECT_THAT(folder_.Files(".safetensors"), ElementsAre("model.safetensors"));
    const std::vector<std::string> parts = folder_.Files(".part");
    ASSERT_EQ(parts.size(), end == 1 ? 0u : 1u) << "with nothing done, nothing is kept";
    if (end > 1) {
      EXPECT_FALSE(OpenWeights(folder_ / parts[0]).ok()) << "a part is no weight file";
    }

    std::int64_t first = 0;
    const std::string path = Ensure(GetParam(), [&](std::int64_t bytes, std::int64_t) {
      if (first == 0) first = bytes;
      return absl::OkStatus();
    });
    EXPECT_EQ(first, last);
    EXPECT_TRUE(Read(path) == expected);
    EXPECT_THAT(folder_.Files(".part"), IsEmpty());
    fs::remove(path);
  }
}

// kill -9 leaves what the part was at some moment; copies of it stand for that.
TEST_F(QuantisedCache, AKilledRunIsGoneOnWith) {
  const std::string expected = Expected(kInt8);
  std::vector<std::string> moments;
  const std::string path = Ensure(kInt8, [&](std::int64_t, std::int64_t) {
    moments.push_back(Read(folder_ / folder_.Files(".part").at(0)));
    return absl::OkStatus();
  });
  ASSERT_EQ(moments.size(), kTensors + 1u);
  for (const std::string& moment : moments) {
    fs::remove(path);
    std::ofstream(path + ".part", std::ios::binary) << moment;
    EXPECT_EQ(Ensure(kInt8), path);
    EXPECT_TRUE(Read(path) == expected);
  }
}

TEST_F(QuantisedCache, APartOfSomethingElseIsBegunAnew) {
  const std::string out = folder_ / "out.safetensors", part = out + ".part";
  ASSERT_TRUE(WriteQuantised({source_, kFp8}, out, GoOn).ok());
  const std::string expected = Read(out);
  const auto half_of = [&](const std::string& source, QuantisedFormat format) {
    EXPECT_TRUE(absl::IsCancelled(WriteQuantised({source, format}, folder_ / "half", EndAt(4))));
    return Read(folder_ / "half.part");
  };
  const std::string other = folder_.Write("other.safetensors", Model().bytes());
  fs::last_write_time(other, fs::last_write_time(source_) + std::chrono::seconds(1));
  std::string too_many = half_of(source_, kFp8);
  too_many[0] = kTensors + 1;
  const struct {
    const char* name;
    std::string part;
  } rows[] = {{"another format", half_of(source_, kInt8)},
              {"the low-rank form", half_of(source_, kLowRank)},
              {"another source", half_of(other, kFp8)},
              {"more pieces than there are", too_many},
              {"cut short", half_of(source_, kFp8).substr(0, 1000)},
              {"text", "hello"},
              {"nothing", ""}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    fs::remove(out);
    std::ofstream(part, std::ios::binary | std::ios::trunc) << row.part;
    std::int64_t first = 0;
    const absl::Status status = WriteQuantised({source_, kFp8}, out, [&](std::int64_t bytes, std::int64_t) {
      if (first == 0) first = bytes;
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_LT(first, 2000) << "begins with the header";
    EXPECT_TRUE(Read(out) == expected);
  }
}

TEST_F(QuantisedCache, OfTwoWhoWantItOneMakesIt) {
  std::promise<void> one_works, other_waits;
  int calls_of_one = 0, calls_of_other = 0;
  auto one = std::async(std::launch::async, [&] {
    return Ensure(kFp8, [&](std::int64_t, std::int64_t) {
      if (++calls_of_one == 3) {
        one_works.set_value();
        other_waits.get_future().wait();
      }
      return absl::OkStatus();
    });
  });
  one_works.get_future().wait();
  const ino_t inode = InodeOf(folder_ / folder_.Files(".part").at(0));
  const std::string path = Ensure(kFp8, [&](std::int64_t done, std::int64_t total) {
    EXPECT_LT(done, total);
    if (++calls_of_other == 1) other_waits.set_value();
    return absl::OkStatus();
  });
  EXPECT_EQ(one.get(), path);
  EXPECT_EQ(calls_of_one, kTensors + 1);
  EXPECT_EQ(InodeOf(path), inode) << "the file the first one made";
  EXPECT_THAT(folder_.Files(".part"), IsEmpty());
}

TEST_F(QuantisedCache, WhoWaitsCanGiveUpAndTheOtherGoesOn) {
  std::promise<void> one_works, other_is_gone;
  int calls = 0;
  auto one = std::async(std::launch::async, [&] {
    return Ensure(kFp8, [&](std::int64_t, std::int64_t) {
      if (++calls == 1) {
        one_works.set_value();
        other_is_gone.get_future().wait();
      }
      return absl::OkStatus();
    });
  });
  one_works.get_future().wait();
  EXPECT_TRUE(absl::IsCancelled(EnsureQuantised({source_, kFp8}, cache_, EndAt(1)).status()));
  other_is_gone.set_value();
  EXPECT_TRUE(OpenWeights(one.get()).ok());
}

TEST_F(QuantisedCache, WhoeverWaitedForOneThatFailedMakesIt) {
  std::promise<void> one_works, other_waits;
  int calls = 0;
  auto one = std::async(std::launch::async, [&] {
    return EnsureQuantised({source_, kFp8}, cache_,
                           [&](std::int64_t, std::int64_t) {
                             if (++calls < 3) return absl::OkStatus();
                             one_works.set_value();
                             other_waits.get_future().wait();
                             return absl::CancelledError("enough");
                           })
        .status();
  });
  one_works.get_future().wait();
  int calls_of_other = 0;
  const std::string path = Ensure(kFp8, [&](std::int64_t, std::int64_t) {
    if (++calls_of_other == 1) other_waits.set_value();
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsCancelled(one.get()));
  EXPECT_TRUE(OpenWeights(path).ok());
}

TEST_F(QuantisedCache, ANumberThatIsNoneIsRefusedInTheLowRankFormToo) {
  std::vector<float> with_nan = Weights(64, 64, 1);
  with_nan[64 * 5] = std::numeric_limits<float>::quiet_NaN();
  source_ = folder_.Write("nan", TensorFile().Add("a.blocks.0.weight", {64, 64}, with_nan).bytes());
  const absl::Status status = EnsureQuantised({source_, kLowRank}, cache_, GoOn).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("nan: tensor a.blocks.0.weight: compress: element 320 is nan"));
}

TEST_F(QuantisedCache, ASourceReplacedMeanwhileIsNoticed) {
  int calls = 0;
  const absl::Status status = EnsureQuantised({source_, kFp8}, cache_, [&](std::int64_t, std::int64_t) {
                                if (++calls == 2) fs::rename(folder_.Write("new", Model().bytes()), source_);
                                return absl::OkStatus();
                              }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors: was replaced or changed"));
  EXPECT_THAT(folder_.Files(".safetensors"), ElementsAre("model.safetensors"));
}

TEST_F(QuantisedCache, WhatCannotBeConvertedIsRefusedWithItsName) {
  std::vector<float> with_nan = Weights(64, 64, 1);
  with_nan[64 * 5] = std::numeric_limits<float>::quiet_NaN();
  const std::string nan =
      folder_.Write("nan", TensorFile().Add("a.blocks.0.weight", {64, 64}, with_nan).bytes());
  const std::string fp8 =
      folder_.Write("fp8", TensorFile().Add("a.blocks.0.weight", {1, 2}, {1, 2}, DType::kF8E4M3).bytes());
  const std::string ints = folder_.Write("ints", TensorFile().Add("a", {2}, {1, 2}, DType::kI64).bytes());
  fs::create_directory(folder_ / "folder");
  fs::create_symlink(source_, folder_ / "link");
  const struct {
    const char* name;
    std::string source, out;
    absl::StatusCode code;
    const char* message;
  } rows[] = {
      {"no source", folder_ / "nope", folder_ / "x", absl::StatusCode::kNotFound, "nope: cannot open"},
      {"NaN", nan, folder_ / "x", absl::StatusCode::kInvalidArgument,
       "nan: tensor a.blocks.0.weight has a value in row 5 that is not finite"},
      {"8 bits already", fp8, folder_ / "x", absl::StatusCode::kInvalidArgument,
       "fp8: tensor a.blocks.0.weight is F8_E4M3; F32, BF16 or F16 can be quantised"},
      {"converted already", Ensure(kInt8), folder_ / "x", absl::StatusCode::kInvalidArgument,
       "tensor a.blocks.0.ffn.weight is I8; F32"},
      {"compressed already", Ensure(kLowRank), folder_ / "x", absl::StatusCode::kInvalidArgument,
       "tensor a.blocks.0.ffn.weight is compressed; F32"},
      {"integers", ints, folder_ / "x", absl::StatusCode::kInvalidArgument, "ints: tensor a is I64"},
      {"onto itself", source_, source_, absl::StatusCode::kInvalidArgument, "is the file that is to be read"},
      {"onto itself by a link", source_, folder_ / "link", absl::StatusCode::kInvalidArgument,
       "link: is the file that is to be read"},
      {"a folder", source_, folder_ / "folder", absl::StatusCode::kFailedPrecondition,
       "folder: cannot write it: Is a directory"},
      {"no folder", source_, folder_ / "none/x", absl::StatusCode::kFailedPrecondition,
       "none/x.part: cannot write it: No such file or directory"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::Status status = WriteQuantised({row.source, kFp8}, row.out, GoOn);
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
    EXPECT_FALSE(fs::exists(folder_ / "x"));
    EXPECT_THAT(folder_.Files(".part"), IsEmpty());
  }
  EXPECT_EQ(Read(source_), Model().bytes());
  folder_.Write("file", "");
  EXPECT_EQ(EnsureQuantised({source_, kFp8}, folder_ / "file/cache", GoOn).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(QuantisedCache, ADiskTooSmallIsNoticedBeforeTheWorkBegins) {
  const Mount disk(cache_, 0, "size=16k");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small disk: " << disk.reason();
  bool began = false;
  const absl::Status status = EnsureQuantised({source_, kFp8}, cache_, [&](std::int64_t, std::int64_t) {
                                return began = true, absl::OkStatus();
                              }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << "no lack of memory: " << status;
  EXPECT_THAT(
      std::string(status.message()),
      testing::MatchesRegex(
          ".*fp8-[0-9a-f]+\\.safetensors: no room on the disk: bytes_needed=[0-9]+ bytes_free=16384"));
  EXPECT_FALSE(began);
  EXPECT_THAT(folder_.Files(), ElementsAre("model.safetensors"));
}

// The room is taken when the work begins, so a part counts for what it already has.
TEST_F(QuantisedCache, ADiskThatFitsOneFileFitsItsPartToo) {
  const std::string expected = Expected(kFp8);
  const Mount disk(cache_, 0, absl::StrCat("size=", (expected.size() + 8191) / 4096 * 4, "k").c_str());
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small disk: " << disk.reason();
  EXPECT_TRUE(absl::IsCancelled(EnsureQuantised({source_, kFp8}, cache_, EndAt(4)).status()));
  EXPECT_TRUE(Read(Ensure(kFp8)) == expected);
}

}  // namespace
}  // namespace ovi
