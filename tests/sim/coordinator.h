// The shell around core as the real one is: advance, write, carry out, answer; and crash between any two of
// these.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/advance.h"
#include "coordinator/core/state.h"
#include "tests/sim/event_queue.h"

namespace ovi::sim {

using EventKind = decltype(core::Event::what);

enum class Crash { kNone, kBeforeJournal, kBeforeDecisions, kAmidDecisions };

class Coordinator {
 public:
  struct Hooks {
    std::function<void(const core::Outcome& outcome)> check;  // once it is durable
    std::function<void(const core::Decision&)> carry_out;
    std::function<void()> crashed;  // every connection breaks
  };
  Coordinator(EventQueue& queue, Verdict& verdict, const core::Policy& policy, Hooks hooks);

  using Reply = std::function<void(const core::Reply&)>;
  // Lost while it is down. No reply comes for what a crash cut short.
  void Post(EventKind what, const Reply& reply = nullptr);

  void CrashAtNextChange(Crash crash) { planned_ = crash; }
  void CrashNow();
  // With what the journal has.
  void Restart();

  bool up() const { return up_; }
  const core::State& state() const { return state_; }
  // Changes of all lives, in their order.
  const std::vector<core::Change>& journal() const { return journal_; }

 private:
  void CompareWithReplay();

  EventQueue& queue_;
  Verdict& verdict_;
  const core::Policy policy_;
  const Hooks hooks_;
  core::State state_;
  core::State replayed_;  // fed with the journal alone
  std::vector<core::Change> journal_;
  Crash planned_ = Crash::kNone;
  bool up_ = true;
};

}  // namespace ovi::sim
