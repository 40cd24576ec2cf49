#include "worker/weights/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/temp_folder.h"
#include "tests/weights/tensor_file.h"
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

// A pair for w (2x3), a tensor for nothing.
std::string Adapter() {
  return test::TensorFile()
      .Add("w.lora_down.weight", {1, 3}, {1, 2, 3})
      .Add("w.lora_up.weight", {2, 1}, {1, 2})
      .Add("other.diff", {1}, {1})
      .bytes();
}

TEST(InspectWeights, SaysWhatKindOfAdapterAFileIs) {
  TempFolder folder;
  const std::string path = folder.Write("a", Adapter());
  const auto text = InspectWeights(path, /*json=*/false);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, testing::EndsWith("\nLoRA adapter: 1 pairs of rank 1, 1 differences in full\n"));
  const auto json = InspectWeights(path, /*json=*/true);
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(nlohmann::json::parse(*json)["adapter"],
            nlohmann::json::parse(R"({"pairs":1,"ranks":[1],"differences":1})"));
  EXPECT_FALSE(nlohmann::json::parse(*InspectWeights(folder.Write("m", Example()), /*json=*/true))
                   .contains("adapter"));
}

TEST(InspectWeights, HoldsAnAdapterAgainstAModel) {
  TempFolder folder;
  const std::string path = folder.Write("a", Adapter());
  const std::vector<TensorSpec> model = {{"w.weight", {2, 3}}};
  const std::vector<TensorSpec> wider = {{"w.weight", {2, 4}}};
  EXPECT_THAT(
      *InspectWeights(path, /*json=*/false, &model),
      testing::EndsWith("\nfits: " + path +
                        ": 2 of 3 tensors used, 1 of the model's changed\nwithout effect: other.diff\n"));
  EXPECT_THAT(*InspectWeights(path, /*json=*/false, &wider),
              testing::EndsWith("\ndoes not fit: " + path +
                                ": w.lora_down.weight is 1x3, expected (rank)x4 for w.weight (2x4)\n"));
  EXPECT_EQ(nlohmann::json::parse(*InspectWeights(path, /*json=*/true, &model))["adapter"]["match"],
            nlohmann::json::parse(R"({"tensors_used":2,"tensors_changed":1,"unmatched":["other.diff"]})"));
  EXPECT_THAT(nlohmann::json::parse(*InspectWeights(path, /*json=*/true, &wider))["adapter"]["error"]
                  .get<std::string>(),
              testing::HasSubstr("expected (rank)x4"));
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
