#include "worker/weights/inspect.h"

#include <gtest/gtest.h>

#include "tests/temp_folder.h"
#include "tests/weights/weight_files.h"

namespace ovi {
namespace {

std::string Example() {
  return test::Safetensors(
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}})",
      std::string(16, '\0'));
}

TEST(InspectWeights, PrintsATable) {
  TempFolder folder;
  const std::string path = folder.Write("m", Example());
  const auto text = InspectWeights(path, /*json=*/false);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text,
            "NAME      DTYPE    SHAPE   BYTES\n"
            "a.weight  F32      2x1     8\n"
            "b         I64      scalar  8\n"
            "\n" +
                path +
                ": 2 tensors, 3 elements, 16 bytes\n"
                "F32: 1 tensors, 2 elements, 8 bytes\n"
                "I64: 1 tensors, 1 elements, 8 bytes\n"
                "metadata format: pt\n");
}

TEST(InspectWeights, PrintsJson) {
  TempFolder folder;
  const std::string path = folder.Write("m", Example());
  const auto text = InspectWeights(path, /*json=*/true);
  ASSERT_TRUE(text.ok()) << text.status();
  std::string compact;
  for (const char c : *text) {
    if (c != ' ' && c != '\n') compact += c;
  }
  EXPECT_EQ(compact, R"({"path":")" + path +
                         R"(","tensor_count":2,"bytes":16,"tensors":[)"
                         R"({"name":"a.weight","dtype":"F32","shape":[2,1],"bytes":8},)"
                         R"({"name":"b","dtype":"I64","shape":[],"bytes":8}],"metadata":{"format":"pt"}})");
}

TEST(InspectWeights, SurvivesAPathThatIsNotUtf8) {
  TempFolder folder;
  EXPECT_TRUE(InspectWeights(folder.Write("\xff", Example()), /*json=*/true).ok());
}

TEST(InspectWeights, PassesOnWhyAFileCannotBeOpened) {
  EXPECT_EQ(InspectWeights("/nope", /*json=*/false).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace ovi
