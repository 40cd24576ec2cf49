#include "worker/weights/open_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/temp_folder.h"
#include "tests/weights/weight_files.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

using test::Le;
using test::Safetensors;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(OpenWeights, TellsTheFormatByContentNotByName) {
  TempFolder folder;
  const std::string path = folder.Write(
      "model.pt", Safetensors(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Le<float>(2.5f)));
  const auto source = OpenWeights(path);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->path(), path);
  EXPECT_THAT(ToFloats(*(*source)->Find("x")), ElementsAre(2.5f));

  std::filesystem::copy(OVI_SOURCE_DIR "/tests/weights/data/zip_generator.pt", folder / "a.safetensors");
  EXPECT_TRUE(OpenWeights(folder / "a.safetensors").ok());
}

TEST(OpenWeights, KeepsTheMemoryWhenTheFileIsReplacedOrRemoved) {
  TempFolder folder;
  const std::string path =
      folder.Write("model.safetensors",
                   Safetensors(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Le<float>(2.5f)));
  const auto source = OpenWeights(path);
  ASSERT_TRUE(source.ok()) << source.status();
  std::filesystem::remove(path);
  EXPECT_THAT(ToFloats(*(*source)->Find("x")), ElementsAre(2.5f));
}

TEST(OpenWeights, RefusesWhatIsNoWeightFile) {
  TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  const struct {
    const char* name;
    std::string path;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {"missing", folder / "nope", absl::StatusCode::kNotFound, "nope: cannot open"},
      {"folder", folder / "", absl::StatusCode::kInvalidArgument, "is a folder, not a file"},
      {"fifo", folder / "fifo", absl::StatusCode::kInvalidArgument, "fifo: is not a regular file"},
      {"device", "/dev/zero", absl::StatusCode::kInvalidArgument, "/dev/zero: is not a regular file"},
      {"empty", folder.Write("empty", ""), absl::StatusCode::kInvalidArgument, "empty: the file is empty"},
      {"text", folder.Write("page.html", "<!DOCTYPE html><html>not found</html>"),
       absl::StatusCode::kInvalidArgument, "page.html: header length is"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = OpenWeights(c.path).status();
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace ovi
