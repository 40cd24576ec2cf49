#include "tests/sim/coordinator.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/core/durable.h"
#include "tests/sim/trace.h"

namespace ovi::sim {
namespace {

bool IsTraced() {
  static const bool traced = std::getenv("OVI_SIM_TRACE") != nullptr;
  return traced;
}

void Trace(const core::Event& event, const core::Outcome& outcome, Crash crash) {
  std::string lines = Describe(event);
  for (const core::Change& change : outcome.changes) absl::StrAppend(&lines, "\n    ", Describe(change));
  for (const core::Decision& decision : outcome.decisions)
    absl::StrAppend(&lines, "\n      > ", Describe(decision));
  if (!outcome.reply.ok())
    absl::StrAppend(&lines, "\n    refused: ", std::string(outcome.reply.status().message()));
  if (crash != Crash::kNone) absl::StrAppend(&lines, "\n    crash ", static_cast<int>(crash));
  std::puts(lines.c_str());
}

}  // namespace

Coordinator::Coordinator(EventQueue& queue, Verdict& verdict, const core::Policy& policy, Hooks hooks)
    : queue_(queue), verdict_(verdict), policy_(policy), hooks_(std::move(hooks)) {
  state_.policy = policy;
  state_.started_at = queue.now();
}

void Coordinator::Post(EventKind what, const Reply& reply) {
  if (!up_) return;
  const core::Event event{.at = queue_.now(), .what = std::move(what)};
  const core::Outcome outcome = core::Advance(state_, event);
  Crash crash = Crash::kNone;
  if (!outcome.changes.empty()) std::swap(crash, planned_);
  if (IsTraced()) Trace(event, outcome, crash);
  if (crash == Crash::kBeforeJournal) return CrashNow();
  for (const core::Change& change : outcome.changes) {
    journal_.push_back(change);
    if (!core::Apply(replayed_, change).ok()) verdict_.Wrong("a change cannot be replayed");
  }
  if (!outcome.changes.empty()) CompareWithReplay();
  hooks_.check(outcome);
  if (crash == Crash::kBeforeDecisions) return CrashNow();
  std::size_t left = crash == Crash::kAmidDecisions ? outcome.decisions.size() / 2 : outcome.decisions.size();
  for (const core::Decision& decision : outcome.decisions) {
    if (left-- == 0) break;
    hooks_.carry_out(decision);
  }
  if (crash == Crash::kAmidDecisions) return CrashNow();
  if (reply) reply(outcome.reply);
}

void Coordinator::CompareWithReplay() {
  const std::string difference = core::DurableDifference(state_, replayed_);
  if (!difference.empty()) verdict_.Wrong(absl::StrCat("the journal gives another state: ", difference));
}

void Coordinator::CrashNow() {
  if (!up_) return;
  up_ = false;
  planned_ = Crash::kNone;
  state_ = {};
  hooks_.crashed();
}

void Coordinator::Restart() {
  if (up_) return;
  state_ = {};
  state_.policy = policy_;
  for (const core::Change& change : journal_) {
    if (!core::Apply(state_, change).ok()) verdict_.Wrong("the journal cannot be replayed");
  }
  state_.started_at = queue_.now();
  up_ = true;
}

}  // namespace ovi::sim
