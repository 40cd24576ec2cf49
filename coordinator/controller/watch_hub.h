// Who wants to hear of changes of which job.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "coordinator/core/types.h"

namespace ovi {

// Thread-safe.
class WatchHub {
 public:
  using Callback =
      std::function<void()>;  // quick; called without locks of the hub, on the thread that notifies

  // Ends the subscription when destroyed; a callback that runs just then is waited for, so never destroy one
  // inside its own callback.
  class Subscription {
   public:
    ~Subscription();

   private:
    friend class WatchHub;
    struct Entry;
    Subscription(WatchHub& hub, core::JobId job, std::shared_ptr<Entry> entry);
    WatchHub& hub_;
    core::JobId job_;
    std::shared_ptr<Entry> entry_;
  };

  [[nodiscard]] std::unique_ptr<Subscription> Subscribe(core::JobId job, Callback callback);
  void Notify(std::span<const core::JobId> jobs);

 private:
  std::mutex mutex_;
  std::multimap<core::JobId, std::shared_ptr<Subscription::Entry>> entries_;
};

}  // namespace ovi
