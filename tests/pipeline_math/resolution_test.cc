#include "worker/pipeline/math/resolution.h"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>
#include <vector>

namespace ovi {

void PrintTo(const FrameSize& size, std::ostream* out) {
  *out << size.height << "x" << size.width;
}

namespace {

constexpr std::int64_t kArea720 = 518400;
constexpr std::int64_t kArea960 = 921600;

// Height before width, from the original's own functions (tests/golden/open/manifest.json, helpers).
struct Row {
  FrameSize request;
  FrameSize at_720;
  FrameSize at_960;
};

TEST(SnapResolution, EqualsTheOriginal) {
  const std::vector<Row> rows = {
      {{704, 1280}, {544, 960}, {704, 1280}},  {{1280, 704}, {960, 544}, {1280, 704}},
      {{960, 960}, {704, 704}, {960, 960}},    {{512, 992}, {512, 992}, {704, 1344}},
      {{992, 512}, {992, 512}, {1344, 704}},   {{960, 512}, {992, 512}, {1312, 704}},
      {{512, 960}, {512, 992}, {704, 1312}},   {{720, 720}, {704, 704}, {960, 960}},
      {{448, 1120}, {448, 1152}, {608, 1504}}, {{480, 854}, {544, 960}, {704, 1280}},
      {{100, 37}, {1184, 448}, {1568, 576}},   {{1080, 1920}, {544, 960}, {704, 1280}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(*SnapResolution(row.request, kArea720), row.at_720) << testing::PrintToString(row.request);
    EXPECT_EQ(*SnapResolution(row.request, kArea960), row.at_960) << testing::PrintToString(row.request);
  }
}

TEST(SnapResolution, RoundsTiesToTheEvenMultiple) {
  EXPECT_EQ(*SnapResolution({720, 720}, kArea720), (FrameSize{704, 704}));   // 22.5 -> 22
  EXPECT_EQ(*SnapResolution({752, 752}, 752 * 752), (FrameSize{768, 768}));  // 23.5 -> 24
  EXPECT_EQ(*SnapResolution({96, 96}, 9216), (FrameSize{96, 96}));           // mini-ovi
}

TEST(SnapResolution, KeepsATokenOnTheShortSide) {
  EXPECT_EQ(*SnapResolution({1, 4000}, kArea720), (FrameSize{32, 45536}));
}

TEST(FirstFrameSize, EqualsTheOriginal) {
  const std::vector<Row> rows = {
      {{720, 1280}, {544, 960}, {704, 1280}},  {{1280, 720}, {960, 544}, {1280, 704}},
      {{1024, 1024}, {704, 704}, {960, 960}},  {{768, 1024}, {608, 832}, {832, 1120}},
      {{1080, 1920}, {544, 960}, {704, 1280}}, {{480, 640}, {608, 832}, {832, 1120}},
      {{333, 777}, {480, 1088}, {640, 1472}},  {{64, 2000}, {128, 4032}, {160, 5376}},
      {{2160, 3840}, {544, 960}, {704, 1280}}, {{704, 704}, {704, 704}, {960, 960}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(*FirstFrameSize(row.request, kArea720), row.at_720) << testing::PrintToString(row.request);
    EXPECT_EQ(*FirstFrameSize(row.request, kArea960), row.at_960) << testing::PrintToString(row.request);
  }
}

// tests/golden/open, image_resize.
TEST(FirstFrameSize, EqualsTheOriginalAtSmallAreas) {
  EXPECT_EQ(*FirstFrameSize({48, 80}, 6144), (FrameSize{64, 96}));
  EXPECT_EQ(*FirstFrameSize({37, 91}, 4096), (FrameSize{32, 96}));
  EXPECT_EQ(*FirstFrameSize({64, 64}, 4096), (FrameSize{64, 64}));
  EXPECT_EQ(*FirstFrameSize({120, 50}, 9216), (FrameSize{160, 64}));
  EXPECT_EQ(*FirstFrameSize({96, 96}, 9216), (FrameSize{96, 96}));
}

TEST(Resolution, RefusesImpossibleSizes) {
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  for (const FrameSize size : {FrameSize{0, 10}, FrameSize{10, 0}, FrameSize{-4, 4}, FrameSize{10, huge}}) {
    EXPECT_EQ(SnapResolution(size, kArea720).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FirstFrameSize(size, kArea720).status().code(), absl::StatusCode::kInvalidArgument);
  }
  for (const std::int64_t area : {std::int64_t{0}, std::int64_t{-1}, kFrameAreaMax + 1}) {
    EXPECT_EQ(SnapResolution({10, 10}, area).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FirstFrameSize({10, 10}, area).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Resolution, StaysFiniteAtTheLimits) {
  for (const FrameSize size : {FrameSize{1, kFrameSideMax}, FrameSize{kFrameSideMax, 1}, FrameSize{1, 1},
                               FrameSize{kFrameSideMax, kFrameSideMax}}) {
    for (const std::int64_t area : {std::int64_t{1}, kFrameAreaMax}) {
      for (const FrameSize snapped : {*SnapResolution(size, area), *FirstFrameSize(size, area)}) {
        EXPECT_GE(snapped.height, 32);
        EXPECT_GE(snapped.width, 32);
      }
    }
  }
}

}  // namespace
}  // namespace ovi
