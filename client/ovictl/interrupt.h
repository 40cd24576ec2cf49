// Ctrl-C and SIGTERM as an event that ends whatever is waited for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "base/unique_fd.h"

namespace ovi::client {

// From its construction on, SIGINT and SIGTERM are taken by a thread of this object: the first one triggers,
// a second one ends the process at once with exit code 130. Threads started before would still die of the
// signals, so it is made first in main. Thread-safe.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Takes no lock, so any callback may ask.
  bool triggered() const { return triggered_.load(); }

  // Waits for `duration`; true as soon as it is triggered.
  bool WaitFor(std::chrono::milliseconds duration);

  // `action` is called once when it is triggered, from another thread, or now when it has been. Until the
  // subscription is destroyed, which waits for a call under way; `action` must not wait for anything or
  // subscribe.
  class [[nodiscard]] Subscription {
   public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

   private:
    friend class Interrupt;
    Subscription(Interrupt& interrupt, std::function<void()> action);
    Interrupt& interrupt_;
    std::list<std::function<void()>>::iterator place_;
  };
  Subscription Subscribe(std::function<void()> action) { return {*this, std::move(action)}; }

 private:
  void Listen();
  void Trigger();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> triggered_{false};
  std::list<std::function<void()>> actions_;
  UniqueFd signal_fd_, stop_fd_;
  std::thread listener_;
};

}  // namespace ovi::client
