#include "coordinator/controller/watch_hub.h"

#include <utility>
#include <vector>

namespace ovi {

struct WatchHub::Subscription::Entry {
  std::mutex mutex;   // held while the callback runs
  Callback callback;  // empty once unsubscribed
};

WatchHub::Subscription::Subscription(WatchHub& hub, core::JobId job, std::shared_ptr<Entry> entry)
    : hub_(hub), job_(job), entry_(std::move(entry)) {}

WatchHub::Subscription::~Subscription() {
  {
    const std::lock_guard lock(hub_.mutex_);
    const auto [begin, end] = hub_.entries_.equal_range(job_);
    for (auto it = begin; it != end; ++it) {
      if (it->second == entry_) {
        hub_.entries_.erase(it);
        break;
      }
    }
  }
  const std::lock_guard lock(entry_->mutex);
  entry_->callback = nullptr;
}

std::unique_ptr<WatchHub::Subscription> WatchHub::Subscribe(core::JobId job, Callback callback) {
  auto entry = std::make_shared<Subscription::Entry>();
  entry->callback = std::move(callback);
  const std::lock_guard lock(mutex_);
  entries_.emplace(job, entry);
  return std::unique_ptr<Subscription>(new Subscription(*this, job, std::move(entry)));
}

void WatchHub::Notify(std::span<const core::JobId> jobs) {
  std::vector<std::shared_ptr<Subscription::Entry>> called;
  {
    const std::lock_guard lock(mutex_);
    if (entries_.empty()) return;
    for (const core::JobId job : jobs) {
      const auto [begin, end] = entries_.equal_range(job);
      for (auto it = begin; it != end; ++it) called.push_back(it->second);
    }
  }
  for (const auto& entry : called) {
    const std::lock_guard lock(entry->mutex);
    if (entry->callback) entry->callback();
  }
}

}  // namespace ovi
