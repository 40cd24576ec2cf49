// Results: what is uploaded, published, dropped, deleted. Uploads that go wrong: upload_test.cc.
#include "coordinator/artifacts/artifact_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/artifacts/files.h"

namespace ovi {
namespace {

using test::ArtifactOf;
using test::MustOpenStore;
using test::Published;
using test::UploadFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

#define ASSERT_OK(expression)                  \
  do {                                         \
    const absl::Status ok_status = expression; \
    ASSERT_TRUE(ok_status.ok()) << ok_status;  \
  } while (false)

constexpr core::AttemptRef kFirst{.job = 7, .attempt = 1};
constexpr core::AttemptRef kSecond{.job = 7, .attempt = 2};

class ArtifactStoreTest : public testing::Test {
 protected:
  void Restart() {
    store_.reset();
    store_ = MustOpenStore(path_);
  }
  // Files below jobs/ and trash/.
  std::vector<std::string> Stored() const {
    std::vector<std::string> files = folder_.Files();
    std::erase(files, "store/lock");
    return files;
  }

  const TempFolder folder_;
  const std::string path_ = folder_ / "store";
  std::unique_ptr<ArtifactStore> store_ = MustOpenStore(path_);
};

TEST_F(ArtifactStoreTest, PublishesWhatAnAttemptUploaded) {
  ASSERT_OK(UploadFile(*store_, kFirst, "moving pictures"));
  ASSERT_OK(UploadFile(*store_, kFirst, "", "empty.txt"));
  EXPECT_THAT(Published(*store_, 7), StartsWith("NOT_FOUND"));
  ASSERT_OK(store_->Publish(kFirst));
  EXPECT_EQ(Published(*store_, 7), "moving pictures");
  EXPECT_EQ(Published(*store_, 7, "empty.txt"), "");
  Restart();
  EXPECT_EQ(Published(*store_, 7), "moving pictures");
  EXPECT_THAT(Stored(),
              ElementsAre("store/jobs/7/published-1/empty.txt", "store/jobs/7/published-1/video.mp4"));
}

TEST_F(ArtifactStoreTest, ReadsAFileInPieces) {
  ASSERT_OK(UploadFile(*store_, kFirst, "moving pictures"));
  ASSERT_OK(store_->Publish(kFirst));
  const absl::StatusOr<StoredFile> file = store_->OpenForRead(7, "video.mp4");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes(), 15);
  EXPECT_EQ(file->Read(0, 6).value(), "moving");
  EXPECT_EQ(file->Read(7, 100).value(), "pictures");
  EXPECT_EQ(file->Read(15, 100).value(), "");
  EXPECT_EQ(file->Sha256().value(), Sha256Hex("moving pictures"));
  EXPECT_EQ(file->Read(-1, 1).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ArtifactStoreTest, FindsOnlyPublishedFilesByPlainNames) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(store_->Publish(kFirst));
  for (const char* name : {"other.mp4", "", ".", "..", "../published-1/video.mp4", "/etc/passwd"}) {
    const absl::Status status = store_->OpenForRead(7, name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("job 7")) << name;
  }
  EXPECT_EQ(store_->OpenForRead(8, "video.mp4").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, MayPublishAgain) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(store_->Publish(kFirst));
  ASSERT_OK(store_->Publish(kFirst));
  Restart();
  ASSERT_OK(store_->Publish(kFirst));
  EXPECT_EQ(Published(*store_, 7), "x");
}

TEST_F(ArtifactStoreTest, TakesFilesOfAPublishedAttemptAgain) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(store_->Publish(kFirst));
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(UploadFile(*store_, kFirst, "y", "poster.png"));
  ASSERT_OK(store_->Publish(kFirst));
  EXPECT_EQ(Published(*store_, 7), "x");
  EXPECT_EQ(Published(*store_, 7, "poster.png"), "y");
  EXPECT_THAT(Stored(),
              ElementsAre("store/jobs/7/published-1/poster.png", "store/jobs/7/published-1/video.mp4"));
}

TEST_F(ArtifactStoreTest, ReplacesTheResultOfAnEarlierAttemptButNotOfALaterOne) {
  ASSERT_OK(UploadFile(*store_, kFirst, "old"));
  ASSERT_OK(UploadFile(*store_, kFirst, "old", "old.txt"));
  ASSERT_OK(UploadFile(*store_, kSecond, "new"));
  ASSERT_OK(store_->Publish(kFirst));
  ASSERT_OK(store_->Publish(kSecond));
  EXPECT_EQ(Published(*store_, 7), "new");
  EXPECT_THAT(Stored(), ElementsAre("store/jobs/7/published-2/video.mp4"));

  ASSERT_OK(UploadFile(*store_, kFirst, "late"));
  const absl::Status late = store_->Publish(kFirst);
  EXPECT_EQ(late.code(), absl::StatusCode::kFailedPrecondition) << late;
  EXPECT_EQ(Published(*store_, 7), "new");
}

TEST_F(ArtifactStoreTest, PublishesNothingThatWasNotUploaded) {
  EXPECT_EQ(store_->Publish(kFirst).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Publish({.job = 0, .attempt = 1}).code(), absl::StatusCode::kInvalidArgument);
  // An upload that failed, or still runs, is none.
  EXPECT_FALSE(UploadFile(*store_, kFirst, "x", ArtifactOf("y")).ok());
  EXPECT_EQ(store_->Publish(kFirst).code(), absl::StatusCode::kNotFound);
  const auto running = store_->BeginUpload(kFirst, ArtifactOf("x"));
  ASSERT_OK(running.status());
  EXPECT_EQ(store_->Publish(kFirst).code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, LeavesARunningUploadOutOfTheResult) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  const auto running = store_->BeginUpload(kFirst, ArtifactOf("late", "late.txt"));
  ASSERT_OK(running.status());
  ASSERT_OK(store_->Publish(kFirst));
  ASSERT_OK((*running)->Write("late"));
  EXPECT_EQ((*running)->Finish().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Stored(), ElementsAre("store/jobs/7/published-1/video.mp4"));
}

TEST_F(ArtifactStoreTest, DropsAnAttemptButNotAResult) {
  store_->Drop(kFirst);
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(UploadFile(*store_, kSecond, "y"));
  const auto running = store_->BeginUpload(kFirst, ArtifactOf("z", "z.txt"));
  ASSERT_OK(running.status());
  ASSERT_OK((*running)->Write("z"));
  store_->Drop(kFirst);
  EXPECT_EQ((*running)->Finish().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Stored(), ElementsAre("store/jobs/7/attempt-2/video.mp4"));
  EXPECT_EQ(store_->CheckComplete(kFirst, std::vector{ArtifactOf("x")}).code(), absl::StatusCode::kNotFound);

  ASSERT_OK(store_->Publish(kSecond));
  store_->Drop(kSecond);
  EXPECT_EQ(Published(*store_, 7), "y");
}

TEST_F(ArtifactStoreTest, DeletesAllFilesOfAJobAndNoOther) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(store_->Publish(kFirst));
  ASSERT_OK(UploadFile(*store_, kSecond, "y"));
  ASSERT_OK(UploadFile(*store_, {.job = 70, .attempt = 1}, "z"));
  const absl::StatusOr<StoredFile> reader = store_->OpenForRead(7, "video.mp4");
  store_->Delete(7);
  EXPECT_THAT(Stored(), ElementsAre("store/jobs/70/attempt-1/video.mp4"));
  EXPECT_THAT(Published(*store_, 7), StartsWith("NOT_FOUND"));
  EXPECT_EQ(test::Contents(reader), "x") << "who reads it may go on";
  store_->Delete(7);
  EXPECT_EQ(store_->CheckComplete(kFirst, std::vector{ArtifactOf("x")}).code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, TellsWhetherAResultIsComplete) {
  ASSERT_OK(UploadFile(*store_, kFirst, "moving"));
  ASSERT_OK(UploadFile(*store_, kFirst, "poster", "poster.png"));
  const std::vector<core::Artifact> artifacts = {ArtifactOf("moving"), ArtifactOf("poster", "poster.png")};
  const struct {
    const char* name;
    core::Artifact artifact;
    absl::StatusCode code;
  } wrong[] = {
      {"missing", ArtifactOf("x", "x.txt"), absl::StatusCode::kNotFound},
      {"other hash", ArtifactOf("movinG"), absl::StatusCode::kDataLoss},
      {"other size",
       {.file_name = "video.mp4", .sha256 = artifacts[0].sha256, .size_bytes = 5},
       absl::StatusCode::kDataLoss},
      {"no file name", ArtifactOf("moving", "../attempt-1/video.mp4"), absl::StatusCode::kInvalidArgument}};
  // Now, from what the disk alone says, and published.
  for (const char* stage : {"uploaded", "restarted", "published"}) {
    SCOPED_TRACE(stage);
    EXPECT_TRUE(store_->CheckComplete(kFirst, artifacts).ok());
    EXPECT_TRUE(store_->CheckComplete(kFirst, {}).ok());
    for (const auto& c : wrong) {
      const absl::Status status = store_->CheckComplete(kFirst, std::vector{artifacts[1], c.artifact});
      EXPECT_EQ(status.code(), c.code) << c.name;
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.artifact.file_name));
    }
    if (stage == std::string("uploaded")) {
      Restart();
    } else {
      ASSERT_OK(store_->Publish(kFirst));
    }
  }
  EXPECT_EQ(store_->CheckComplete({.job = 7, .attempt = 0}, artifacts).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ArtifactStoreTest, NoticesAfterARestartThatAFileRotted) {
  ASSERT_OK(UploadFile(*store_, kFirst, "moving"));
  Restart();
  folder_.Write("store/jobs/7/attempt-1/video.mp4", "movinG");
  EXPECT_EQ(store_->CheckComplete(kFirst, std::vector{ArtifactOf("moving")}).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(ArtifactStoreTest, SweepsWhatNobodyKnowsOrWants) {
  for (const core::JobId job : {1, 2, 3}) {
    for (const int attempt : {1, 2}) ASSERT_OK(UploadFile(*store_, {job, attempt}, "x"));
    ASSERT_OK(store_->Publish({job, 1}));
  }
  folder_.Write("store/jobs/notes.txt", "an administrator's");
  store_->Sweep([](core::JobId job) { return job != 2; },
                [](const core::AttemptRef& attempt) {
                  return attempt == core::AttemptRef{3, 2};
                });
  EXPECT_THAT(Stored(), ElementsAre("store/jobs/1/published-1/video.mp4", "store/jobs/3/attempt-2/video.mp4",
                                    "store/jobs/3/published-1/video.mp4", "store/jobs/notes.txt"));
}

TEST_F(ArtifactStoreTest, RemovesWhatAKilledProcessLeft) {
  ASSERT_OK(UploadFile(*store_, kFirst, "x"));
  ASSERT_OK(UploadFile(*store_, kSecond, "y"));
  ASSERT_OK(store_->Publish(kFirst));
  store_.reset();
  folder_.Write("store/jobs/7/attempt-2/video.mp4.123-0.part", "half");
  folder_.Write("store/jobs/7/published-1/poster.png.123-1.part", "half");
  folder_.Write("store/inputs/upload-5", "whole, but without a name");
  folder_.Write("store/inputs/upload-6.123-2.part", "half");
  std::filesystem::create_directory(folder_ / "store/trash/123-0");
  folder_.Write("store/trash/123-0/video.mp4", "gone");
  store_ = MustOpenStore(path_);
  EXPECT_THAT(Stored(),
              ElementsAre("store/jobs/7/attempt-2/video.mp4", "store/jobs/7/published-1/video.mp4"));
}

TEST_F(ArtifactStoreTest, KeepsASecondOneOut) {
  const absl::Status status = ArtifactStore::Open(path_, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(path_, ": in use by process ", ::getpid())));
}

TEST_F(ArtifactStoreTest, NeedsAPlace) {
  folder_.Write("file", "");
  std::filesystem::create_directory(folder_ / "odd");
  folder_.Write("odd/jobs", "");
  for (const char* name : {"missing/store", "file", "odd"}) {
    const absl::Status status = ArtifactStore::Open(folder_ / name, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder_ / name));
  }
  EXPECT_THAT(MustOpenStore(folder_ / "fresh")->OpenForRead(1, "x").status().ToString(),
              StartsWith("NOT_FOUND"));
}

// Goal: calls from many threads never mix files up, whatever comes and goes beside them.
TEST_F(ArtifactStoreTest, ServesManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; ++t) {
    threads.emplace_back([this, t] {
      for (int round = 1; round <= 8; ++round) {
        const core::AttemptRef attempt{.job = t, .attempt = round};
        const std::string bytes(static_cast<std::size_t>(1000 * t + round), static_cast<char>('a' + t));
        EXPECT_TRUE(UploadFile(*store_, attempt, bytes).ok());
        EXPECT_TRUE(store_->CheckComplete(attempt, std::vector{ArtifactOf(bytes)}).ok());
        EXPECT_TRUE(store_->Publish(attempt).ok());
        EXPECT_EQ(Published(*store_, t), bytes);
        // Everybody's: one job for all, deleted again and again.
        const core::AttemptRef shared{.job = 99, .attempt = t};
        const absl::Status uploaded = UploadFile(*store_, shared, bytes);
        EXPECT_TRUE(uploaded.ok() || uploaded.code() == absl::StatusCode::kUnavailable ||
                    uploaded.code() == absl::StatusCode::kFailedPrecondition)
            << uploaded;
        store_->Delete(99);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Stored(), testing::SizeIs(4));
}

TEST(PlainFileName, IsOneThatCanDoNoHarm) {
  for (const std::string& name : {std::string("video.mp4"), std::string("a b (1).png"), std::string("x"),
                                  std::string(200, 'x'), std::string("a..b"), std::string("part")}) {
    EXPECT_TRUE(IsPlainFileName(name)) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string(".hidden"), std::string("a/b"),
        std::string("/a"), std::string("a\nb"), std::string("a\0b", 3), std::string("caf\xc3\xa9"),
        std::string(201, 'x'), std::string("video.mp4.part")}) {
    EXPECT_FALSE(IsPlainFileName(name)) << name;
  }
}

}  // namespace
}  // namespace ovi
