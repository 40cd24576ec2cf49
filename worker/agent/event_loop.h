// One thread that waits for many things: descriptors, timers, and work that other threads hand it. All that
// the agent knows of its groups is touched by that thread alone, so none of it needs a lock.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"

namespace ovi {

// Post and Quit: any thread. All else: the thread that calls Run, before or during it.
class EventLoop {
 public:
  using Callback = std::function<void()>;

  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs `work` on the loop's thread, in the order of the calls.
  void Post(Callback work);

  // Calls `on_ready` whenever `fd` can be read, or has ended. One watch a descriptor; the owner calls Unwatch
  // before it closes it, which a callback may do, also for its own.
  void Watch(int fd, Callback on_ready);
  void Unwatch(int fd);

  // Once, not before `delay` has passed.
  void After(std::chrono::milliseconds delay, Callback work);

  // Returns after Quit. What was posted before Quit has been run then.
  void Run();
  void Quit();

 private:
  using Clock = std::chrono::steady_clock;

  void RunPosted();
  void RunDueTimers();
  int MillisecondsToNextTimer() const;

  UniqueFd wake_fd_;
  std::map<int, Callback> watches_;
  std::multimap<Clock::time_point, Callback> timers_;
  bool quit_ = false;

  std::mutex mutex_;
  std::vector<Callback> posted_;  // guarded by mutex_
};

}  // namespace ovi
