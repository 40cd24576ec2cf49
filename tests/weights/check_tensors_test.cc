#include "worker/weights/check_tensors.h"

#include <gtest/gtest.h>

#include "tests/weights/weight_files.h"
#include "worker/weights/safetensors.h"

namespace ovi {
namespace {

// A source of tensors a (2x3), b (scalar) and c (4).
std::unique_ptr<WeightSource> Source() {
  static const std::string file =
      test::Safetensors(R"({"a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]},)"
                        R"("b":{"dtype":"U8","shape":[],"data_offsets":[6,7]},)"
                        R"("c":{"dtype":"U8","shape":[4],"data_offsets":[7,11]}})",
                        std::string(11, '\0'));
  auto source = ParseSafetensors({"model.safetensors", test::AsBytes(file), nullptr});
  EXPECT_TRUE(source.ok()) << source.status();
  return *std::move(source);
}

TEST(CheckTensors, SaysWhatIsMissingUnexpectedOrOfAnotherShape) {
  const struct {
    const char* name;
    std::vector<TensorSpec> expected;
    const char* message;  // after the fixed part; nothing when the check passes
  } cases[] = {
      {"all there, in any order", {{"c", {4}}, {"b", {}}, {"a", {2, 3}}}, ""},
      {"one missing", {{"a", {2, 3}}, {"b", {}}, {"c", {4}}, {"d", {1}}}, "1 tensor missing (d)"},
      {"one unexpected", {{"a", {2, 3}}, {"b", {}}}, "1 tensor unexpected (c)"},
      {"one of another shape",
       {{"a", {3, 2}}, {"b", {}}, {"c", {4}}},
       "1 tensor of another shape (a is 2x3, expected 3x2)"},
      {"another rank",
       {{"a", {2, 3}}, {"b", {1}}, {"c", {4}}},
       "1 tensor of another shape (b is scalar, expected 1)"},
      {"another model",
       {{"p", {1}}, {"q", {1}}, {"r", {1}}, {"s", {1}}, {"c", {5}}},
       "4 tensors missing (first: p, q, r, ...), 2 unexpected (first: a, b), 1 of another shape (c is 4, "
       "expected 5)"},
      {"nothing expected", {}, "3 tensors unexpected (first: a, b, c)"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = CheckTensors(*Source(), c.expected);
    if (std::string_view(c.message).empty()) {
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()),
              std::string("model.safetensors: not the expected model: ") + c.message);
  }
}

}  // namespace
}  // namespace ovi
