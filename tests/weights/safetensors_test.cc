// Goal: whatever the bytes are, the reader gives tensors that lie inside them or an error that says what is
// wrong.
#include "worker/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/weights/weight_files.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

using test::AsBytes;
using test::Le;
using test::Safetensors;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

absl::StatusOr<std::unique_ptr<WeightSource>> Parse(std::string_view bytes) {
  return ParseSafetensors({"model.safetensors", AsBytes(bytes), nullptr});
}

TEST(Safetensors, GivesEveryTensorAsAViewOfTheFile) {
  const std::string file =
      Safetensors(R"({"__metadata__":{"format":"pt","note":"two words"},)"
                  R"("b.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                  R"("a.bias":{"data_offsets":[8,12],"shape":[2],"dtype":"BF16"},)"
                  R"("scalar":{"dtype":"I8","shape":[],"data_offsets":[12,13]},)"
                  R"("none":{"dtype":"I64","shape":[3,0],"data_offsets":[13,13]}}   )",
                  Le<float>(1.5f) + Le<float>(-2.0f) + Le(std::vector<std::uint16_t>{0x3f80, 0xc000}) +
                      std::string("\xfd"));
  const auto source = Parse(file);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->path(), "model.safetensors");
  EXPECT_THAT((*source)->metadata(), ElementsAre(Pair("format", "pt"), Pair("note", "two words")));

  const std::vector<TensorInfo> list = (*source)->List();
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].name, "a.bias");
  EXPECT_EQ(list[0].dtype, DType::kBF16);
  EXPECT_EQ(list[0].bytes, 4);
  EXPECT_EQ(list[1].name, "b.weight");
  EXPECT_EQ(list[1].shape, (Shape{2, 1}));
  EXPECT_EQ(list[2].name, "none");
  EXPECT_EQ(list[2].shape, (Shape{3, 0}));
  EXPECT_EQ(list[2].bytes, 0);
  EXPECT_EQ(list[3].name, "scalar");
  EXPECT_EQ(list[3].shape.rank(), 0);

  EXPECT_THAT(ToFloats(*(*source)->Find("b.weight")), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(ToFloats(*(*source)->Find("a.bias")), ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(ToFloats(*(*source)->Find("scalar")), ElementsAre(-3.0f));
  EXPECT_EQ((*source)->Find("scalar")->data, file.data() + file.size() - 1);
}

TEST(Safetensors, NamesFileAndTensorWhenOneIsNotThere) {
  const std::string file = Safetensors("{}", "");
  const auto source = Parse(file);
  ASSERT_TRUE(source.ok()) << source.status();
  const absl::Status status = (*source)->Find("blocks.0\n").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), R"(model.safetensors: no tensor named blocks.0\n)");
}

TEST(Safetensors, KnowsEverySupportedDType) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kI8, DType::kU8,
                            DType::kI32, DType::kI64}) {
    const std::string name(DTypeName(dtype));
    SCOPED_TRACE(name);
    const std::string bytes = std::to_string(2 * ElementBytes(dtype));
    const std::string file =
        Safetensors(R"({"x":{"dtype":")" + name + R"(","shape":[2],"data_offsets":[0,)" + bytes + "]}}",
                    std::string(static_cast<std::size_t>(2 * ElementBytes(dtype)), '\0'));
    const auto source = Parse(file);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ((*source)->Find("x")->dtype, dtype);
  }
}

struct Refusal {
  const char* name;
  std::string bytes;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

class SafetensorsRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(SafetensorsRefuses, WithFileAndField) {
  const auto source = Parse(GetParam().bytes);
  ASSERT_FALSE(source.ok());
  EXPECT_EQ(source.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(source.status().message()), testing::StartsWith("model.safetensors: "));
  EXPECT_THAT(std::string(source.status().message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(source.status().message()), testing::Not(HasSubstr("\n")));
}

// A file of one tensor x with these fields and `data_bytes` bytes of data.
std::string OneTensor(std::string_view fields, std::size_t data_bytes) {
  return Safetensors(std::string(R"({"x":{)").append(fields).append("}}"), std::string(data_bytes, '\1'));
}

std::string TwoTensors(std::string_view offsets_a, std::string_view offsets_b, std::size_t data_bytes) {
  const std::string fields = R"({"dtype":"U8","shape":[4],"data_offsets":)";
  return Safetensors(
      R"({"a":)" + fields + std::string(offsets_a) + R"(},"b":)" + fields + std::string(offsets_b) + "}}",
      std::string(data_bytes, '\1'));
}

INSTANTIATE_TEST_SUITE_P(
    Length, SafetensorsRefuses,
    testing::Values(Refusal{"nothing", "", "header length needs 8 bytes, the file has 0"},
                    Refusal{"seven_bytes", "\2\0\0\0\0\0", "header length needs 8 bytes"},
                    Refusal{"zero", Le<std::uint64_t>(0) + "{}", "header length is 0"},
                    Refusal{"one_too_long", Le<std::uint64_t>(3) + "{}",
                            "header length is 3 bytes, but only 2 bytes follow"},
                    Refusal{"huge", Le<std::uint64_t>(100'000'001) + "{}", "at most 100000000 are allowed"},
                    Refusal{"all_ones", Le(std::numeric_limits<std::uint64_t>::max()) + "{}",
                            "18446744073709551615 bytes"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Json, SafetensorsRefuses,
    testing::Values(
        Refusal{"text", Safetensors("not json", ""), "header: is not JSON at byte"},
        Refusal{"cut", Safetensors(R"({"x":{"dtype":"F32")", ""), "is not JSON"},
        Refusal{"two_objects", Safetensors("{}{}", ""), "is not JSON"},
        Refusal{"not_utf8", Safetensors("{\"\xff\":{}}", ""), "is not JSON"},
        Refusal{"an_array", Safetensors("[]", ""), "header: is an array, not an object"},
        Refusal{"a_number", Safetensors("7", ""), "header: is a number, not an object"},
        Refusal{"deep_arrays", Safetensors(std::string(1'000'000, '['), ""), "is an array"},
        Refusal{"deep_objects", Safetensors(R"({"a":{"shape":{"a":{"a":{}}}}})", ""),
                "has an object as shape"},
        Refusal{"deep_in_shape", Safetensors(R"({"a":{"shape":[[[[1]]]]}})", ""), "has an array in shape"},
        Refusal{"tensor_no_object", Safetensors(R"({"x":1})", ""), "has a number as x, not an object"},
        Refusal{"metadata_no_object", Safetensors(R"({"__metadata__":[]})", ""), "an array"},
        Refusal{"metadata_number", Safetensors(R"({"__metadata__":{"step":3}})", ""),
                "__metadata__ has a number as step, not a string"},
        Refusal{"metadata_twice", Safetensors(R"({"__metadata__":{},"__metadata__":{}})", ""),
                "__metadata__ is there twice"},
        Refusal{"metadata_key_twice", Safetensors(R"({"__metadata__":{"a":"1","a":"2"}})", ""),
                "the key a twice"},
        Refusal{"name_twice",
                Safetensors(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                            R"("x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                            "ab"),
                "tensor x is there twice"},
        Refusal{"empty_name", Safetensors(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""),
                "empty name"},
        Refusal{"field_twice", OneTensor(R"("dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1])", 1),
                "tensor x: has the field dtype twice"},
        Refusal{"unknown_field", OneTensor(R"("dtype":"U8","sparse":true)", 0),
                "tensor x: has the unknown field sparse"},
        Refusal{"newline_in_name", Safetensors(R"({"a\nb":{"dtype":"U8"}})", ""),
                R"(tensor a\nb: has no field shape)"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fields, SafetensorsRefuses,
    testing::Values(
        Refusal{"no_dtype", OneTensor(R"("shape":[1],"data_offsets":[0,1])", 1),
                "tensor x: has no field dtype"},
        Refusal{"no_shape", OneTensor(R"("dtype":"U8","data_offsets":[0,1])", 1),
                "tensor x: has no field shape"},
        Refusal{"no_offsets", OneTensor(R"("dtype":"U8","shape":[1])", 1),
                "tensor x: has no field data_offsets"},
        Refusal{"unknown_dtype", OneTensor(R"("dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1])", 1),
                "tensor x: dtype F8_E5M2 is not supported"},
        Refusal{"dtype_number", OneTensor(R"("dtype":8)", 0), "tensor x: has a number as dtype"},
        Refusal{"shape_string", OneTensor(R"("shape":"1x2")", 0), "tensor x: has a string as shape"},
        Refusal{"shape_null", OneTensor(R"("shape":[null])", 0), "tensor x: has null in shape"},
        Refusal{"shape_negative", OneTensor(R"("shape":[-1])", 0),
                "tensor x: shape has the negative number -1"},
        Refusal{"shape_float", OneTensor(R"("shape":[1.0])", 0), "shape has 1.0, not an integer"},
        Refusal{"shape_beyond_64_bits", OneTensor(R"("shape":[99999999999999999999])", 0),
                "not an integer of 63 bits"},
        Refusal{"shape_beyond_63_bits", OneTensor(R"("shape":[9223372036854775808])", 0), "beyond 63 bits"},
        Refusal{"rank_9", OneTensor(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])", 1),
                "shape has more than 8 numbers"},
        Refusal{"shape_overflow",
                OneTensor(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0),
                "tensor x: shape overflows"},
        Refusal{"shape_overflow_before_a_zero",
                OneTensor(R"("dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0),
                "tensor x: shape overflows"},
        Refusal{"bytes_overflow",
                OneTensor(R"("dtype":"I64","shape":[1152921504606846976],"data_offsets":[0,0])", 0),
                "tensor x: shape overflows"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Offsets, SafetensorsRefuses,
    testing::Values(
        Refusal{"one", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0])", 1), "has 1 data_offsets"},
        Refusal{"three", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,2])", 1),
                "data_offsets has more than 2 numbers"},
        Refusal{"negative", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])", 1),
                "tensor x: data_offsets has the negative number -1"},
        Refusal{"float", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1e0])", 1),
                "data_offsets has 1e0"},
        Refusal{
            "huge",
            OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807])",
                      1),
            "tensor x: data_offsets end 9223372036854775807 is beyond the 1 data bytes"},
        Refusal{"begin_after_end", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])", 1),
                "tensor x: data_offsets begin 1 is after end 0"},
        Refusal{"beyond_the_file", OneTensor(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])", 1),
                "tensor x: data_offsets end 2 is beyond the 1 data bytes"},
        Refusal{"other_size", OneTensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4),
                "tensor x: data_offsets hold 4 bytes, but F32 2 takes 8"},
        Refusal{"data_left_over", OneTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])", 2),
                "data_offsets end at 1, but the file has 2 data bytes"},
        Refusal{"overlap", TwoTensors("[0,4]", "[2,6]", 6),
                "tensor b: data_offsets begin 2 overlaps a, which ends at 4"},
        Refusal{"same", TwoTensors("[0,4]", "[0,4]", 4), "overlaps"},
        Refusal{"hole", TwoTensors("[0,4]", "[5,9]", 9),
                "tensor b: data_offsets begin 5 leaves a hole after a"},
        Refusal{"hole_in_front", TwoTensors("[8,12]", "[4,8]", 12),
                "tensor b: data_offsets begin 4 leaves a hole after the header"}),
    [](const auto& test) { return test.param.name; });

TEST(Safetensors, RefusesEveryTruncationOfAValidFile) {
  const std::string file = TwoTensors("[4,8]", "[0,4]", 8);
  ASSERT_TRUE(Parse(file).ok()) << Parse(file).status();
  for (std::size_t bytes = 0; bytes < file.size(); ++bytes) {
    EXPECT_FALSE(Parse(std::string_view(file).substr(0, bytes)).ok()) << bytes;
  }
}

}  // namespace
}  // namespace ovi
