// The shell around the scheduler: one thread takes events, advances the state, writes what must survive to
// the journal (one transaction and one fsync for all events that came in meanwhile: group commit), and only
// then carries out decisions and answers those who wait.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/artifacts/artifact_store.h"
#include "coordinator/controller/commands.h"
#include "coordinator/controller/watch_hub.h"
#include "coordinator/core/advance.h"
#include "coordinator/journal/journal.h"
#include "coordinator/metrics/metrics.h"

namespace ovi {

// Thread-safe. Borrows everything it is given; Start before use, Stop before any of it goes.
class Controller {
 public:
  using EventKind = decltype(core::Event::what);
  using Reply = std::function<void(const core::Reply&)>;

  struct Parts {
    Journal& journal;
    ArtifactStore& artifacts;
    Metrics& metrics;
    Commands& commands;
    // The journal cannot be written: nothing can be promised any more. Called once, on the controller's
    // thread; the process should end.
    std::function<void(const absl::Status&)> on_journal_lost;
  };

  // Replays the journal. Whatever Journal::Replay says, and DATA_LOSS for facts that contradict each other.
  static absl::StatusOr<std::unique_ptr<Controller>> Create(Parts parts, const core::Policy& policy);
  ~Controller();

  void Start();
  // Handles what is queued, then ends the thread. Later events get UNAVAILABLE.
  void Stop();

  // `reply` (may be null) is called on the controller's thread once the event's consequences are durable, or
  // with UNAVAILABLE when they are not. It must be quick.
  void Post(EventKind what, Reply reply = nullptr);

  // Calls `look` with the state, while nothing changes it. Keep it short.
  template <typename Look>
  auto Read(const Look& look) const {
    const std::lock_guard lock(state_mutex_);
    return look(std::as_const(state_));
  }

  WatchHub& watches() { return watches_; }

 private:
  struct Posted {
    EventKind what;
    Reply reply;
  };
  struct Batch;

  Controller(Parts parts, core::State state) : parts_(std::move(parts)), state_(std::move(state)) {}
  void Loop();
  void Handle(std::vector<Posted> events);
  // These three with state_mutex_ held.
  void AdvanceAll(std::vector<Posted>& events, Batch& batch);
  absl::Status Commit(const Batch& batch);
  void Publish(core::JobId id);
  void CarryOut(const core::Decision& decision);
  std::string AgentInstance(const std::string& node) const;

  Parts parts_;
  WatchHub watches_;

  mutable std::mutex state_mutex_;
  core::State state_;
  core::TimeMs last_at_ = 0;  // events never go back in time

  std::mutex queue_mutex_;
  std::condition_variable queue_filled_;
  std::vector<Posted> queue_;
  bool stopping_ = false;
  bool journal_lost_ = false;  // the controller's thread only
  std::thread thread_;
};

}  // namespace ovi
