// Goal: what torch writes is read as torch reads it, and no pickle, stride or storage reaches outside the
// file.
#include "worker/weights/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>

#include "tests/weights/weight_files.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using test::AsBytes;
using test::Le;
using test::PickleText;
using test::Zip;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

std::string DataFile(std::string_view name) {
  return std::string(OVI_SOURCE_DIR "/tests/weights/data/").append(name);
}

std::vector<float> Floats(const WeightSource& source, std::string_view name) {
  const auto tensor = source.Find(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return tensor.ok() ? ToFloats(*tensor) : std::vector<float>();
}

// Files written by torch 1.13.1 itself (data/make_torch_files.py).
class TorchFiles : public testing::TestWithParam<const char*> {};

TEST_P(TorchFiles, HoldTheStateDictTorchWasGiven) {
  const auto opened = OpenWeights(DataFile(GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const WeightSource& source = **opened;
  const std::vector<TensorInfo> list = source.List();
  std::vector<std::string> names;
  for (const TensorInfo& info : list) names.push_back(info.name);
  EXPECT_THAT(names, ElementsAre("bf16", "column", "empty", "expanded", "f16", "f32", "f64", "i32", "i64",
                                 "parameter", "rows", "scalar", "transposed", "u8"));
  std::vector<float> base(48);
  std::iota(base.begin(), base.end(), 0.0f);
  for (const char* name : {"f32", "bf16", "f16", "f64"}) {
    EXPECT_THAT(Floats(source, name), ElementsAreArray(base)) << name;
    EXPECT_EQ(source.Find(name)->shape, (Shape{6, 8})) << name;
  }
  EXPECT_EQ(source.Find("bf16")->dtype, DType::kBF16);
  EXPECT_EQ(source.Find("f16")->dtype, DType::kF16);
  EXPECT_EQ(source.Find("f64")->dtype, DType::kF32);
  EXPECT_EQ(source.Find("i64")->dtype, DType::kI64);
  EXPECT_EQ(source.Find("i32")->dtype, DType::kI32);
  EXPECT_EQ(source.Find("u8")->dtype, DType::kU8);

  std::vector<float> transposed;
  for (int column = 0; column < 8; ++column) {
    for (int row = 0; row < 6; ++row) transposed.push_back(base[static_cast<std::size_t>(row * 8 + column)]);
  }
  EXPECT_EQ(source.Find("transposed")->shape, (Shape{8, 6}));
  EXPECT_THAT(Floats(source, "transposed"), ElementsAreArray(transposed));
  EXPECT_THAT(Floats(source, "rows"), ElementsAreArray(base.begin() + 16, base.begin() + 32));
  EXPECT_THAT(Floats(source, "column"), ElementsAre(3, 11, 19, 27, 35, 43));
  EXPECT_THAT(Floats(source, "i64"), ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_THAT(Floats(source, "i32"), ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_THAT(Floats(source, "u8"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(source.Find("scalar")->shape.rank(), 0);
  EXPECT_THAT(Floats(source, "scalar"), ElementsAre(3.5f));
  EXPECT_EQ(source.Find("empty")->shape, (Shape{0, 4}));
  EXPECT_THAT(Floats(source, "expanded"), ElementsAre(7, 7, 7, 7, 7, 7));
  EXPECT_THAT(Floats(source, "parameter"), ElementsAre(1, 1, 1, 1));
  // Shared, not copied: row 2 of f32 is where rows begins.
  EXPECT_EQ(source.Find("rows")->data, static_cast<const std::byte*>(source.Find("f32")->data) + 16 * 4);
}

INSTANTIATE_TEST_SUITE_P(Containers, TorchFiles,
                         testing::Values("zip_state.pt", "legacy_state.pt", "zip_protocol4.pt",
                                         "legacy_protocol4.pt"));

TEST(TorchFile, UnwrapsTheKeysCheckpointsAreWrappedIn) {
  for (const char* container : {"zip_", "legacy_"}) {
    for (const char* wrapper : {"generator.pt", "module.pt", "app.pt"}) {
      SCOPED_TRACE(std::string(container) + wrapper);
      const auto source = OpenWeights(DataFile(std::string(container) + wrapper));
      ASSERT_TRUE(source.ok()) << source.status();
      EXPECT_EQ((*source)->List().size(), 2u);
      EXPECT_THAT(Floats(**source, "weight"), ElementsAre(0, 1, 2, 3, 4, 5));
      EXPECT_THAT(Floats(**source, "bias"), ElementsAre(0, 0, 0));
      EXPECT_TRUE((*source)->metadata().empty());
    }
  }
}

TEST(TorchFile, RefusesAPickledModuleByTheNameOfItsClass) {
  for (const char* name : {"zip_object.pt", "legacy_object.pt"}) {
    const absl::Status status = OpenWeights(DataFile(name)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("the global torch.nn.modules.linear.Linear is not allowed in a weight file"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(TorchFile, RefusesEveryTruncation) {
  for (const char* name : {"zip_generator.pt", "legacy_generator.pt"}) {
    std::ifstream stream(DataFile(name), std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(stream), {}};
    ASSERT_TRUE(ParseWeights({"whole", AsBytes(file), nullptr}).ok());
    for (std::size_t bytes = 0; bytes < file.size(); ++bytes) {
      EXPECT_FALSE(ParseWeights({"cut", AsBytes(std::string_view(file).substr(0, bytes)), nullptr}).ok())
          << bytes;
    }
  }
}

// A dict of one tensor x, opcodes of which `tensor` gives.
std::string OneTensor(const PickleText& tensor) {
  return PickleText().Raw("}").String("x").Raw(std::string_view(tensor.text).substr(2)).Raw("s.").text;
}

// A storage "0" of 6 floats: 0, 1, ... 5.
std::string SixFloats() {
  return Le(std::vector<float>{0, 1, 2, 3, 4, 5});
}

std::string ZipOf(const std::string& pickle, const std::string& order = "little") {
  return Zip({{.name = "archive/data.pkl", .contents = pickle},
              {.name = "archive/byteorder", .contents = order},
              {.name = "archive/data/0", .contents = SixFloats()},
              {.name = "archive/version", .contents = "3\n"}});
}

absl::StatusOr<std::unique_ptr<WeightSource>> Parse(std::string_view file) {
  return ParseWeights({"model.pt", AsBytes(file), nullptr});
}

TEST(TorchFile, FollowsOffsetsAndStrides) {
  const struct {
    const char* name;
    std::int64_t offset;
    std::vector<std::int64_t> size, stride;
    std::vector<float> values;
  } cases[] = {
      {"contiguous", 0, {2, 3}, {3, 1}, {0, 1, 2, 3, 4, 5}},
      {"offset", 4, {2}, {1}, {4, 5}},
      {"transposed", 0, {3, 2}, {1, 3}, {0, 3, 1, 4, 2, 5}},
      {"column", 1, {2}, {3}, {1, 4}},
      {"stride of an axis of one means nothing", 3, {1, 3}, {1000, 1}, {3, 4, 5}},
      {"expanded", 5, {2, 2}, {0, 0}, {5, 5, 5, 5}},
      {"overlapping windows", 0, {3, 2}, {2, 1}, {0, 1, 2, 3, 4, 5}},
      {"sliding windows", 0, {2, 3}, {1, 1}, {0, 1, 2, 1, 2, 3}},
      {"three axes", 0, {2, 1, 3}, {1, 7, 2}, {0, 2, 4, 1, 3, 5}},
      {"scalar", 2, {}, {}, {2}},
      {"empty", 0, {0, 5}, {5, 1}, {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string file =
        ZipOf(OneTensor(PickleText().Tensor("FloatStorage", "0", 6, c.offset, c.size, c.stride)));
    const auto source = Parse(file);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_THAT(Floats(**source, "x"), ElementsAreArray(c.values));
  }
}

TEST(TorchFile, RefusesTensorsThatReachOutsideTheirStorage) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  const struct {
    const char* name;
    PickleText tensor;
    const char* message;
  } cases[] = {
      {"too many elements", PickleText().Tensor("FloatStorage", "0", 6, 0, {7}, {1}),
       "beyond the 6 elements of storage 0"},
      {"offset", PickleText().Tensor("FloatStorage", "0", 6, 6, {1}, {1}),
       "offset 6 reach beyond the 6 elements"},
      {"offset of a scalar", PickleText().Tensor("FloatStorage", "0", 6, kMax, {}, {}), "beyond"},
      {"negative offset", PickleText().Tensor("FloatStorage", "0", 6, -1, {1}, {1}), "storage offset is -1"},
      {"stride", PickleText().Tensor("FloatStorage", "0", 6, 0, {2}, {6}),
       "size 2, stride (6), offset 0 reach beyond"},
      {"negative stride", PickleText().Tensor("FloatStorage", "0", 6, 5, {2}, {-1}),
       "stride is negative: -1"},
      {"stride overflow", PickleText().Tensor("FloatStorage", "0", 6, 0, {3}, {kHuge}), "beyond"},
      {"offset overflow", PickleText().Tensor("FloatStorage", "0", 6, kMax, {2}, {kHuge}), "beyond"},
      {"size overflow", PickleText().Tensor("FloatStorage", "0", 6, 0, {kHuge, kHuge, 0}, {1, 1, 1}),
       "shape overflows"},
      {"negative size", PickleText().Tensor("FloatStorage", "0", 6, 0, {-1}, {1}), "negative extent -1"},
      {"rank 9", PickleText().Tensor("FloatStorage", "0", 6, 0, std::vector<std::int64_t>(9, 1), {}),
       "9 axes"},
      {"ranks differ", PickleText().Tensor("FloatStorage", "0", 6, 0, {2, 3}, {1}),
       "stride has 1 axes, size has 2"},
      {"storage larger than its entry", PickleText().Tensor("FloatStorage", "0", 7, 0, {1}, {1}),
       "storage 0 needs 28 bytes, the file has 24"},
      {"wider type than its entry", PickleText().Tensor("LongStorage", "0", 6, 0, {1}, {1}),
       "needs 48 bytes"},
      {"storage count overflow", PickleText().Tensor("FloatStorage", "0", kHuge, 0, {1}, {1}),
       "invalid element count"},
      {"negative storage count", PickleText().Tensor("FloatStorage", "0", -1, 0, {1}, {1}),
       "invalid element count -1"},
      {"no such storage", PickleText().Tensor("FloatStorage", "1", 6, 0, {1}, {1}),
       "storage 1 is not in the zip"},
      {"storage key that climbs", PickleText().Tensor("FloatStorage", "../version", 0, 0, {0}, {1}),
       "not in the zip"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string file = ZipOf(OneTensor(c.tensor));
    const absl::Status status = Parse(file).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("model.pt: tensor x: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(TorchFile, DoesNotAllocateMoreForExpandedTensorsThanTheFileHas) {
  const std::string one =
      ZipOf(OneTensor(PickleText().Tensor("FloatStorage", "0", 6, 0, {1 << 20, 1 << 20}, {0, 0})));
  EXPECT_EQ(Parse(one).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Parse(one).status().message()),
              HasSubstr("model.pt: tensor x: needs a copy of 4398046511104 bytes, but copies are limited"));

  PickleText many;  // each alone would fit
  many.Raw("}");
  for (int i = 0; i < 100; ++i) {
    many.String(std::to_string(i))
        .Raw(std::string_view(PickleText().Tensor("FloatStorage", "0", 6, 0, {5000}, {0}).text).substr(2))
        .Raw("s");
  }
  EXPECT_EQ(Parse(ZipOf(many.Raw(".").text)).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(TorchFile, RefusesObjectsThatAreNoStateDict) {
  const PickleText tensor = PickleText().Tensor("FloatStorage", "0", 6, 0, {1}, {1});
  const std::string tensor_opcodes = tensor.text.substr(2);
  const struct {
    const char* name;
    std::string pickle;
    const char* message;
  } cases[] = {
      {"a bare tensor", tensor.text + ".", "not a dict of tensors"},
      {"no tensor in it", PickleText().Raw("}").String("step").Raw("K\1s.").text,
       "the dict in the file holds no tensors; it has 1 keys (first: step)"},
      {"a name that is no string", PickleText().Raw("}K\1").Raw(tensor_opcodes).Raw("s.").text,
       "name is not a string"},
      {"a name twice",
       PickleText().Raw("}(").String("x").Raw(tensor_opcodes).String("x").Raw(tensor_opcodes).Raw("u.").text,
       "tensor x is there twice"},
      {"a name that is not UTF-8", PickleText().Raw("}").String("\xff").Raw(tensor_opcodes).Raw("s.").text,
       "is not UTF-8"},
      {"too few arguments",
       PickleText().Raw("}").String("x").Global("torch._utils", "_rebuild_tensor_v2").Raw(")Rs.").text,
       "_rebuild_tensor_v2 is called with 0 arguments"},
      {"a persistent id of something else",
       PickleText()
           .Raw("}")
           .String("x")
           .Global("torch._utils", "_rebuild_tensor_v2")
           .Raw("(")
           .String("module")
           .Raw("QNNNNNtRs.")
           .text,
       "persistent id is not a tuple"},
      {"bytes after the end", OneTensor(tensor) + "x", "data.pkl: 1 bytes after STOP"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = Parse(ZipOf(c.pickle)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(TorchFile, RefusesZipFilesThatAreNotOneLittleEndianArchive) {
  const std::string pickle = OneTensor(PickleText().Tensor("FloatStorage", "0", 6, 0, {1}, {1}));
  const struct {
    const char* name;
    std::string file;
    const char* message;
  } cases[] = {
      {"big-endian", ZipOf(pickle, "big"), "byteorder is big, not little"},
      {"no pickle", Zip({{.name = "a/b", .contents = ""}}), "no entry data.pkl"},
      {"pickle without a folder", Zip({{.name = "data.pkl", .contents = pickle}}), "no entry data.pkl"},
      {"two archives",
       Zip({{.name = "a/data.pkl", .contents = pickle}, {.name = "b/data.pkl", .contents = pickle}}),
       "two archives"},
      {"compressed pickle", Zip({{.name = "a/data.pkl", .contents = pickle, .method = 8}}),
       "a/data.pkl is compressed"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_THAT(std::string(Parse(c.file).status().message()), HasSubstr(c.message));
  }
}

struct Legacy {
  std::string magic = std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
  std::string version = "\x80\x02M\xe9\x03.";
  std::string system = PickleText().Raw("}").String("little_endian").Raw("\x88s.").text;
  std::string object = OneTensor(PickleText().Tensor("FloatStorage", "0", 6, 0, {6}, {1}));
  std::string keys = PickleText().Raw("](").String("0").Raw("e.").text;
  std::string storages = Le<std::int64_t>(6) + SixFloats();

  std::string text() const { return magic + version + system + object + keys + storages; }
};

TEST(TorchFile, ReadsALegacyStream) {
  const std::string file = Legacy().text();
  const auto source = Parse(file);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(Floats(**source, "x"), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(TorchFile, RefusesLegacyStreamsThatDoNotAddUp) {
  const struct {
    const char* name;
    Legacy file;
    const char* message;
  } cases[] = {
      {"version", {.version = "\x80\x02M\xea\x03."}, "protocol version is 1002, not 1001"},
      {"big-endian",
       {.system = PickleText().Raw("}").String("little_endian").Raw("\x89s.").text},
       "big-endian"},
      {"no system info", {.system = "\x80\x02]."}, "system info has no field little_endian"},
      {"object", {.object = "\x80\x02N"}, "object at byte"},
      {"keys are no list", {.keys = "\x80\x02}."}, "the storage keys are not a list"},
      {"key of nothing",
       {.keys = PickleText().Raw("](").String("1").Raw("e.").text},
       "name one that no tensor uses"},
      {"key missing", {.keys = "\x80\x02].", .storages = ""}, "storage 0 is not in the file"},
      {"key twice",
       {.keys = PickleText().Raw("](").String("0").String("0").Raw("e.").text,
        .storages = Le<std::int64_t>(6) + SixFloats() + Le<std::int64_t>(6) + SixFloats()},
       "storage 0 is there twice"},
      {"other count",
       {.storages = Le<std::int64_t>(5) + SixFloats()},
       "storage 0: 5 elements, but the object says 6"},
      {"negative count", {.storages = Le<std::int64_t>(-6) + SixFloats()}, "storage 0: -6 elements"},
      {"count cut", {.storages = "\6"}, "the element count is cut short"},
      {"data cut", {.storages = Le<std::int64_t>(6) + "abc"}, "storage 0 of 24 bytes is cut short: 3 follow"},
      {"data left over",
       {.storages = Le<std::int64_t>(6) + SixFloats() + "abc"},
       "3 bytes after the last storage"},
      {"storage of two types",
       {.object =
            PickleText()
                .Raw("}")
                .String("x")
                .Raw(std::string_view(PickleText().Tensor("HalfStorage", "0", 6, 0, {6}, {1}).text).substr(2))
                .Raw("s")
                .String("y")
                .Raw(
                    std::string_view(PickleText().Tensor("FloatStorage", "0", 6, 0, {6}, {1}).text).substr(2))
                .Raw("s.")
                .text},
       "storage 0 is declared twice, differently"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = Parse(c.file.text()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("model.pt: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace ovi
