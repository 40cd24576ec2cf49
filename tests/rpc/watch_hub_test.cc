#include "coordinator/controller/watch_hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ovi {
namespace {

TEST(WatchHub, TellsThoseWhoWatchTheJobAndNobodyElse) {
  WatchHub hub;
  int one = 0;
  int two = 0;
  const auto first = hub.Subscribe(1, [&one] { ++one; });
  const auto second = hub.Subscribe(2, [&two] { ++two; });
  const auto also = hub.Subscribe(1, [&one] { ++one; });
  const std::vector<core::JobId> jobs = {1, 3};
  hub.Notify(jobs);
  EXPECT_EQ(one, 2);
  EXPECT_EQ(two, 0);
}

TEST(WatchHub, IsSilentAfterTheSubscriptionEnded) {
  WatchHub hub;
  int calls = 0;
  auto watch = hub.Subscribe(1, [&calls] { ++calls; });
  watch.reset();
  const std::vector<core::JobId> jobs = {1};
  hub.Notify(jobs);
  EXPECT_EQ(calls, 0);
}

// Under tsan this finds a callback that outlives its subscription.
TEST(WatchHub, SubscriptionsComeAndGoWhileItNotifies) {
  WatchHub hub;
  std::atomic<bool> done{false};
  std::thread notifier([&] {
    const std::vector<core::JobId> jobs = {1};
    while (!done) hub.Notify(jobs);
  });
  for (int i = 0; i < 500; ++i) {
    auto value = std::make_unique<int>(0);
    auto watch = hub.Subscribe(1, [raw = value.get()] { ++*raw; });
    watch.reset();
    value.reset();
  }
  done = true;
  notifier.join();
}

}  // namespace
}  // namespace ovi
