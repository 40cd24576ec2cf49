// Jobs on disk: prompt lists, relative paths, files that cannot be read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/temp_folder.h"
#include "worker/job/parse_job.h"

namespace ovi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoadJobTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) { return temp_.Write(name, text); }
  std::string ErrorOf(const std::string& path) {
    const absl::StatusOr<JobSpec> spec = LoadJob(path, {});
    return spec.ok() ? "accepted" : std::string(spec.status().message());
  }

  TempFolder temp_;
  const std::string& folder_ = temp_.path();
};

TEST_F(LoadJobTest, ReadsAPromptListBesideTheJob) {
  Write("p.csv", "text_prompt,image_path\r\n\"A cat.\nAudio: meow\",a.png\r\nA dog,/b.png\r\n");
  const auto spec = LoadJob(Write("job.yaml", "text_prompt: ./p.csv\nmode: i2v\n"), {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->prompts, ElementsAre(PromptItem{"A cat.\nAudio: meow", folder_ + "/a.png"},
                                         PromptItem{"A dog", "/b.png"}));
}

TEST_F(LoadJobTest, GivesOneImageToAListWithoutImages) {
  Write("p.tsv", "text_prompt\nA cat\nA dog\n");
  const auto spec = LoadJob(Write("job.yaml", "text_prompt: p.tsv\nimage_path: a.png\n"), {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->mode, Mode::kI2v);
  EXPECT_EQ(spec->prompts[1].image_path, folder_ + "/a.png");
}

TEST_F(LoadJobTest, NamesTheListsLineInErrors) {
  Write("p.csv", "text_prompt,image_path\nA cat,a.png\nA dog,\n");
  EXPECT_EQ(ErrorOf(Write("job.yaml", "text_prompt: p.csv\nmode: i2v\n")),
            folder_ + "/p.csv:3: mode i2v needs an image_path");
  EXPECT_EQ(ErrorOf(Write("job.yaml", "text_prompt: p.csv\n")),
            folder_ + "/p.csv:3: has no image, unlike the prompts before it; set mode to t2v or i2v");
  EXPECT_EQ(ErrorOf(Write("job.yaml", "text_prompt: p.csv\nimage_path: x.png\n")),
            folder_ + "/job.yaml:2: image_path contradicts the image that " + folder_ +
                "/p.csv:2 names; remove one");
}

TEST_F(LoadJobTest, WarnsOnceOfImagesAListHasInModeT2v) {
  Write("p.csv", "text_prompt,image_path\nA cat,a.png\nA dog,b.png\n");
  const auto spec = LoadJob(Write("job.yaml", "text_prompt: p.csv\nmode: t2v\n"), {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->warnings, ElementsAre(folder_ + "/p.csv:2: image_path is ignored in mode t2v"));
  EXPECT_EQ(spec->prompts[1].image_path, "");
}

TEST_F(LoadJobTest, TakesAPromptThatEndsInCsvForAFileName) {
  EXPECT_EQ(ErrorOf(Write("job.yaml", "seed: 1\ntext_prompt: missing.csv\n")),
            folder_ + "/job.yaml:2: text_prompt names a prompt list: " + folder_ +
                "/missing.csv: cannot open: No such file or directory");
  std::filesystem::create_directory(folder_ + "/folder.csv");
  EXPECT_THAT(ErrorOf(Write("job.yaml", "text_prompt: folder.csv\n")), HasSubstr("is a folder, not a file"));
}

TEST_F(LoadJobTest, TakesListsNamedInAnOverrideFromTheCurrentFolder) {
  const std::string job = Write("job.yaml", "text_prompt: A cat\n");
  Write("p.csv", "text_prompt\nA dog\n");
  EXPECT_FALSE(LoadJob(job, {{"text_prompt", "p.csv"}}).ok());
  const auto spec = LoadJob(job, {{"text_prompt", folder_ + "/p.csv"}});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->prompts[0].text, "A dog");
}

TEST_F(LoadJobTest, RefusesFilesItShouldNotRead) {
  EXPECT_THAT(ErrorOf(folder_ + "/none.yaml"), HasSubstr("none.yaml: cannot open: No such file"));
  EXPECT_THAT(ErrorOf(folder_), HasSubstr("is a folder, not a file"));
  ASSERT_EQ(mkfifo((folder_ + "/fifo.yaml").c_str(), 0600), 0);
  EXPECT_THAT(ErrorOf(folder_ + "/fifo.yaml"), HasSubstr("is not a regular file"));
  EXPECT_THAT(ErrorOf(Write("big.yaml", std::string((1 << 20) + 1, '#'))),
              HasSubstr("more than the 1048576 allowed"));
}

}  // namespace
}  // namespace ovi
