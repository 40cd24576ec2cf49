#include "worker/agent/event_loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace ovi {

EventLoop::EventLoop() : wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  OVI_CHECK(wake_fd_.valid());
}

void EventLoop::Post(Callback work) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  const std::uint64_t one = 1;
  while (::write(wake_fd_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

void EventLoop::Watch(int fd, Callback on_ready) {
  OVI_CHECK(fd >= 0);
  watches_[fd] = std::move(on_ready);
}

void EventLoop::Unwatch(int fd) {
  watches_.erase(fd);
}

void EventLoop::After(std::chrono::milliseconds delay, Callback work) {
  timers_.emplace(Clock::now() + delay, std::move(work));
}

void EventLoop::Quit() {
  Post([this] { quit_ = true; });
}

void EventLoop::RunPosted() {
  std::uint64_t ignored;
  while (::read(wake_fd_.get(), &ignored, sizeof(ignored)) < 0 && errno == EINTR) {
  }
  std::vector<Callback> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (const Callback& callback : work) callback();
}

void EventLoop::RunDueTimers() {
  while (!timers_.empty() && timers_.begin()->first <= Clock::now()) {
    const Callback callback = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    callback();
  }
}

int EventLoop::MillisecondsToNextTimer() const {
  if (timers_.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
}

void EventLoop::Run() {
  quit_ = false;
  while (!quit_) {
    std::vector<pollfd> polled = {{wake_fd_.get(), POLLIN, 0}};
    for (const auto& [fd, callback] : watches_) polled.push_back({fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), MillisecondsToNextTimer()) < 0) continue;  // EINTR
    for (const pollfd& entry : polled) {
      if (entry.revents == 0 || entry.fd == wake_fd_.get()) continue;
      const auto watch = watches_.find(entry.fd);  // an earlier callback may have removed it
      if (watch == watches_.end()) continue;
      const Callback callback = watch->second;  // a copy: it may remove itself
      callback();
    }
    RunDueTimers();
    if (polled.front().revents != 0) RunPosted();
  }
}

}  // namespace ovi
