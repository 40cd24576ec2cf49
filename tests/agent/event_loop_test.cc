// The agent's event loop.
#include "worker/agent/event_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace ovi {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

TEST(EventLoop, RunsWhatIsPostedInOrderAndOnItsOwnThread) {
  EventLoop loop;
  std::vector<int> seen;
  std::thread::id thread;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      loop.Post([&seen, &thread, i] {
        seen.push_back(i);
        thread = std::this_thread::get_id();
      });
    }
    loop.Quit();
  });
  loop.Run();
  other.join();
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(thread, std::this_thread::get_id());
}

TEST(EventLoop, RunsTimersByTheirTime) {
  EventLoop loop;
  std::vector<int> seen;
  loop.After(milliseconds(20), [&] {
    seen.push_back(2);
    loop.Quit();
  });
  loop.After(milliseconds(10), [&] { seen.push_back(1); });
  loop.After(milliseconds(0), [&] {
    seen.push_back(0);
    loop.After(milliseconds(0), [&] { seen.push_back(10); });
  });
  const auto begin = std::chrono::steady_clock::now();
  loop.Run();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(20));
  EXPECT_THAT(seen, ElementsAre(0, 10, 1, 2));
}

TEST(EventLoop, CallsForDescriptorsUntilTheyAreUnwatched) {
  EventLoop loop;
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const UniqueFd read_end(fds[0]);
  UniqueFd write_end(fds[1]);
  int calls = 0;
  loop.Watch(read_end.get(), [&] {
    char byte;
    ++calls;
    if (::read(read_end.get(), &byte, 1) == 1) return;
    loop.Unwatch(read_end.get());  // its own, from within
    loop.Quit();
  });
  ASSERT_EQ(::write(write_end.get(), "ab", 2), 2);
  write_end.Reset();
  loop.Run();
  EXPECT_EQ(calls, 3) << "two bytes and the end";
}

TEST(EventLoop, DoesNotCallForADescriptorThatAnotherCallUnwatched) {
  EventLoop loop;
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const UniqueFd first(fds[0]), write_end(fds[1]), second(::dup(fds[0]));
  ASSERT_EQ(::write(write_end.get(), "a", 1), 1);
  int calls = 0;
  const auto once = [&] {
    ++calls;
    loop.Unwatch(first.get());
    loop.Unwatch(second.get());
    loop.Quit();
  };
  loop.Watch(first.get(), once);
  loop.Watch(second.get(), once);
  loop.Run();
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace ovi
