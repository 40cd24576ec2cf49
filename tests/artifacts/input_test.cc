// First frames: one file for the same bytes, kept for a day after somebody asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "tests/artifacts/files.h"

namespace ovi {
namespace {

using test::Contents;
using test::MustOpenStore;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr core::TimeMs kHour = 3'600'000;

class InputTest : public testing::Test {
 protected:
  absl::StatusOr<std::string> Put(std::string_view bytes) {
    absl::StatusOr<std::unique_ptr<InputUpload>> upload = store_->BeginInput();
    if (!upload.ok()) return upload.status();
    const absl::Status written = (*upload)->Write(bytes);
    if (!written.ok()) return written;
    return (*upload)->Finish();
  }
  std::vector<std::string> Inputs() const {
    std::vector<std::string> files = folder_.Files();
    std::erase(files, "store/lock");
    return files;
  }

  const TempFolder folder_;
  std::unique_ptr<ArtifactStore> store_ = MustOpenStore(folder_ / "store");
};

TEST_F(InputTest, IsFoundByItsHash) {
  const absl::StatusOr<std::string> sha256 = Put("a frame");
  ASSERT_TRUE(sha256.ok()) << sha256.status();
  EXPECT_EQ(*sha256, Sha256Hex("a frame"));
  EXPECT_EQ(Contents(store_->OpenInput(*sha256)), "a frame");
  EXPECT_TRUE(store_->HasInput(*sha256));
  store_.reset();
  store_ = MustOpenStore(folder_ / "store");
  EXPECT_EQ(Contents(store_->OpenInput(*sha256)), "a frame");
}

TEST_F(InputTest, IsKeptOnceForTheSameBytes) {
  EXPECT_EQ(Put("a frame").value(), Put("a frame").value());
  EXPECT_THAT(Inputs(), ElementsAre("store/inputs/" + Sha256Hex("a frame")));
}

TEST_F(InputTest, IsNotFoundUnderAnotherName) {
  ASSERT_TRUE(Put("a frame").ok());
  for (const std::string& name :
       {Sha256Hex("another"), std::string(), std::string("../lock"), std::string("..")}) {
    EXPECT_FALSE(store_->HasInput(name)) << name;
    EXPECT_EQ(store_->OpenInput(name).status().code(), absl::StatusCode::kNotFound) << name;
  }
}

TEST_F(InputTest, IsRefusedAboveTheLimit) {
  store_.reset();
  store_ = MustOpenStore(folder_ / "store", {.input_bytes_max = 10});
  EXPECT_TRUE(Put(std::string(10, 'x')).ok());
  const absl::Status status = Put(std::string(11, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("10 bytes allowed"));
  EXPECT_THAT(Inputs(), testing::SizeIs(1));
}

TEST_F(InputTest, LeavesNothingWhenItIsGivenUp) {
  {
    const auto upload = store_->BeginInput();
    ASSERT_TRUE((*upload)->Write("half").ok());
  }
  EXPECT_THAT(Inputs(), IsEmpty());
}

TEST_F(InputTest, CannotBeStoredWhereItsFolderIsGone) {
  const auto upload = store_->BeginInput();
  ASSERT_TRUE((*upload)->Write("x").ok());
  std::filesystem::remove_all(folder_ / "store/inputs");
  EXPECT_FALSE((*upload)->Finish().ok());
  EXPECT_EQ(store_->BeginInput().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->ExpireInputs(NowMs(), {}), 0);
}

TEST_F(InputTest, ExpiresAfterADay) {
  const std::string sha256 = Put("a frame").value();
  EXPECT_EQ(store_->ExpireInputs(NowMs() + 23 * kHour, {}), 0);
  EXPECT_TRUE(store_->HasInput(sha256));
  EXPECT_EQ(store_->ExpireInputs(NowMs() + 25 * kHour, {}), 1);
  EXPECT_FALSE(store_->HasInput(sha256));
  EXPECT_THAT(Inputs(), IsEmpty());
}

TEST_F(InputTest, DoesNotExpireWhileAJobUsesIt) {
  const std::string used = Put("used").value(), unused = Put("unused").value();
  EXPECT_EQ(store_->ExpireInputs(NowMs() + 100 * kHour, {used}), 1);
  EXPECT_TRUE(store_->HasInput(used));
  EXPECT_FALSE(store_->HasInput(unused));
}

TEST_F(InputTest, StaysAnotherDayWhenSomebodyAsksOrUploadsItAgain) {
  const std::string asked = Put("asked").value(), again = Put("again").value(),
                    neither = Put("neither").value();
  const auto two_days_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(48);
  for (const std::string& sha256 : {asked, again, neither}) {
    std::filesystem::last_write_time(folder_ / ("store/inputs/" + sha256), two_days_ago);
  }
  EXPECT_TRUE(store_->HasInput(asked));
  ASSERT_TRUE(Put("again").ok());
  EXPECT_EQ(store_->ExpireInputs(NowMs(), {}), 1);
  EXPECT_TRUE(store_->HasInput(asked));
  EXPECT_TRUE(store_->HasInput(again));
  EXPECT_FALSE(store_->HasInput(neither));
}

TEST_F(InputTest, IsThereForWhoeverWasToldSoWhileOthersExpire) {
  const auto two_days_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(48);
  std::atomic<bool> done = false;
  std::thread expirer([this, &done] {
    while (!done) store_->ExpireInputs(NowMs(), {});
  });
  int seen = 0;
  for (int round = 0; round < 50; ++round) {
    const std::string sha256 = Put("a frame").value();
    EXPECT_EQ(Contents(store_->OpenInput(sha256)), "a frame");
    std::error_code ignored;
    std::filesystem::last_write_time(folder_ / ("store/inputs/" + sha256), two_days_ago, ignored);
    if (!store_->HasInput(sha256)) continue;
    ++seen;
    EXPECT_EQ(Contents(store_->OpenInput(sha256)), "a frame");
  }
  done = true;
  expirer.join();
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace ovi
