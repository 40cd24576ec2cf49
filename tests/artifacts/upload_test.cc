// Uploads that go wrong: nothing half-written stays, and the disk is never filled.
#include "coordinator/artifacts/upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "base/disk.h"
#include "tests/artifacts/files.h"

namespace ovi {
namespace {

using test::ArtifactOf;
using test::MustOpenStore;
using test::UploadFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr core::AttemptRef kAttempt{.job = 7, .attempt = 1};

TEST(Upload, IsRefusedWhenItCannotBe) {
  using enum absl::StatusCode;
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store", {.file_bytes_max = 100});
  const core::Artifact good = ArtifactOf("x");
  const auto with = [&good](const auto& change) {
    core::Artifact artifact = good;
    change(artifact);
    return artifact;
  };
  const struct {
    const char* name;
    core::AttemptRef attempt;
    core::Artifact artifact;
    absl::StatusCode code;
    const char* says;
  } cases[] = {{"no job", {0, 1}, good, kInvalidArgument, "job 0"},
               {"no attempt", {7, 0}, good, kInvalidArgument, "attempt 0"},
               {"negative job", {-7, 1}, good, kInvalidArgument, "job -7"},
               {"path", kAttempt, with([](auto& a) { a.file_name = "../x"; }), kInvalidArgument,
                "file_name: \"../x\""},
               {"no name", kAttempt, with([](auto& a) { a.file_name = ""; }), kInvalidArgument, "file_name"},
               {"short hash", kAttempt, with([](auto& a) { a.sha256 = "abc"; }), kInvalidArgument,
                "video.mp4: sha256"},
               {"negative size", kAttempt, with([](auto& a) { a.size_bytes = -1; }), kInvalidArgument,
                "size_bytes: -1"},
               {"too large", kAttempt, with([](auto& a) { a.size_bytes = 101; }), kResourceExhausted,
                "size_bytes: 101 is more than the 100 allowed"}};
  for (const auto& c : cases) {
    const absl::Status status = store->BeginUpload(c.attempt, c.artifact).status();
    EXPECT_EQ(status.code(), c.code) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
  }
  EXPECT_TRUE(store->BeginUpload(kAttempt, good).ok());
  EXPECT_THAT(folder.Files(), ElementsAre("store/lock"));
}

TEST(Upload, LeavesNothingWhenItIsNotWhatWasAnnounced) {
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store");
  const struct {
    const char* name;
    const char* bytes;
    core::Artifact announced;
    const char* says;
  } cases[] = {{"too short", "movin", ArtifactOf("moving"), "5 bytes came, 6 were announced"},
               {"too long", "moving!", ArtifactOf("moving"), "more than the 6 bytes announced came"},
               {"other bytes", "movinG", ArtifactOf("moving"), "its sha256 is"}};
  for (const auto& c : cases) {
    const absl::Status status = UploadFile(*store, kAttempt, c.bytes, c.announced);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("video.mp4")) << c.name;
    EXPECT_THAT(folder.Files(), ElementsAre("store/lock")) << c.name;
  }
  EXPECT_TRUE(UploadFile(*store, kAttempt, "moving").ok());
}

TEST(Upload, LeavesNothingWhenItIsGivenUp) {
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store");
  {
    const auto upload = store->BeginUpload(kAttempt, ArtifactOf("moving"));
    ASSERT_TRUE((*upload)->Write("mov").ok());
    EXPECT_EQ(folder.Files(".part").size(), 1u);
  }
  EXPECT_THAT(folder.Files(), ElementsAre("store/lock"));
}

TEST(Upload, RepeatsItsFirstError) {
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store");
  const auto upload = store->BeginUpload(kAttempt, ArtifactOf("moving"));
  EXPECT_EQ((*upload)->Write("much too much").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*upload)->Write("moving").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*upload)->Finish().code(), absl::StatusCode::kDataLoss);

  const auto good = store->BeginUpload(kAttempt, ArtifactOf("moving"));
  ASSERT_TRUE((*good)->Write("moving").ok());
  ASSERT_TRUE((*good)->Finish().ok());
  EXPECT_EQ((*good)->Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*good)->Write("").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Upload, ReplacesAnEarlierOneOfTheSameName) {
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store");
  ASSERT_TRUE(UploadFile(*store, kAttempt, "old").ok());
  ASSERT_TRUE(UploadFile(*store, kAttempt, "new one").ok());
  EXPECT_TRUE(store->CheckComplete(kAttempt, std::vector{ArtifactOf("new one")}).ok());
  EXPECT_FALSE(store->CheckComplete(kAttempt, std::vector{ArtifactOf("old")}).ok());
}

// --- The disk

// A disk of the test's own, of which `bytes_free` are free.
ArtifactLimits SmallDisk(const std::int64_t& bytes_free) {
  return {.input_bytes_max = 50,
          .disk_bytes_free_min = 1000,
          .disk_bytes_free = [&bytes_free](const std::string&) -> absl::StatusOr<std::int64_t> {
            return bytes_free;
          }};
}

TEST(UploadSpace, IsPromisedBeforeItIsUsed) {
  const TempFolder folder;
  std::int64_t bytes_free = 1100;
  const auto store = MustOpenStore(folder / "store", SmallDisk(bytes_free));
  const std::string bytes(60, 'x');
  const core::AttemptRef other{.job = 8, .attempt = 1};
  {
    const auto upload = store->BeginUpload(kAttempt, ArtifactOf(bytes));
    ASSERT_TRUE(upload.ok()) << upload.status();
    const absl::Status refused = store->BeginUpload(other, ArtifactOf(bytes)).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()),
                HasSubstr("bytes_needed=60 bytes_free=1100 bytes_reserved=60 bytes_free_min=1000"));
    EXPECT_EQ(store->BeginInput().status().code(), absl::StatusCode::kResourceExhausted);
    // What is written is no longer promised but used.
    ASSERT_TRUE((*upload)->Write(std::string(50, 'x')).ok());
    bytes_free -= 50;
    EXPECT_FALSE(store->BeginUpload(other, ArtifactOf(std::string(41, 'x'))).ok());
    EXPECT_TRUE(store->BeginUpload(other, ArtifactOf(std::string(40, 'x'))).ok());
  }
  // Given up: all of it is free again, and not more.
  bytes_free += 50;
  EXPECT_FALSE(store->BeginUpload(other, ArtifactOf(std::string(101, 'x'))).ok());
  EXPECT_TRUE(store->BeginUpload(other, ArtifactOf(std::string(100, 'x'))).ok());
  EXPECT_TRUE(store->BeginInput().ok());
}

TEST(UploadSpace, IsNotTakenBelowTheFloorWhenOthersFillTheDisk) {
  const TempFolder folder;
  std::int64_t bytes_free = 1100;
  const auto store = MustOpenStore(folder / "store", SmallDisk(bytes_free));
  {
    const auto upload = store->BeginUpload(kAttempt, ArtifactOf("moving"));
    ASSERT_TRUE((*upload)->Write("mov").ok());
    bytes_free = 999;
    const absl::Status full = (*upload)->Write("ing");
    EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(full.message()), HasSubstr("bytes_free=999 bytes_free_min=1000"));
    bytes_free = 1100;
    EXPECT_FALSE((*upload)->Finish().ok()) << "it lacks a piece";
  }
  EXPECT_THAT(folder.Files(), ElementsAre("store/lock"));
}

TEST(UploadSpace, IsNotPromisedWhenNobodyKnowsIt) {
  const TempFolder folder;
  ArtifactLimits limits;
  limits.disk_bytes_free = [](const std::string&) -> absl::StatusOr<std::int64_t> {
    return absl::UnavailableError("no such disk");
  };
  const auto store = MustOpenStore(folder / "store", limits);
  EXPECT_EQ(store->BeginUpload(kAttempt, ArtifactOf("x")).status().code(), absl::StatusCode::kUnavailable);
}

TEST(UploadSpace, IsThatOfTheRealDisk) {
  const TempFolder folder;
  const absl::StatusOr<std::int64_t> bytes_free = DiskBytesFree(folder.path());
  ASSERT_TRUE(bytes_free.ok()) << bytes_free.status();
  EXPECT_GT(*bytes_free, 0);
  EXPECT_EQ(DiskBytesFree(folder / "missing").status().code(), absl::StatusCode::kNotFound);
}

TEST(UploadSpace, MayEndBeforeItIsUsedUp) {
  const TempFolder folder;
  const auto store = MustOpenStore(folder / "store");
  // A limit on the size of files stands for the disk.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tiny { .rlim_cur = 4, .rlim_max = before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const absl::Status status = UploadFile(*store, kAttempt, "moving pictures");
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("video.mp4"));
  EXPECT_THAT(folder.Files(), ElementsAre("store/lock"));
}

}  // namespace
}  // namespace ovi
