// What there is to tell the coordinator about the attempt that runs. Pure: no thread, stream or clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "ovi/v1/groups.pb.h"

namespace ovi {

inline bool SameAttempt(const v1::AttemptRef& a, const v1::AttemptRef& b) {
  return a.job_id() == b.job_id() && a.attempt() == b.attempt();
}

class Outbox {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kHeartbeat{1'000};

  // Forgets all of the last attempt.
  void Clear() { *this = Outbox(); }
  // Replaces a report that was not told yet, but keeps its memory.
  void Report(v1::AttemptProgress progress);
  void Finish(v1::AttemptFinished finished);
  // What was told on the last stream may not have arrived: the end is told again.
  void OnNewStream() { finished_told_ = false; }
  // Whether an acknowledgement of this attempt means that the end has arrived.
  bool IsAcknowledgedBy(const v1::AttemptRef& attempt) const;

  // The next thing to tell, if there is one: a new report, the end, or the last report once more when
  // kHeartbeat has passed since and `beats`, which counts signs of life, has grown.
  std::optional<v1::GroupMessage> Next(std::uint64_t beats, TimePoint now);
  // Whether time alone may bring something.
  bool beats() const { return last_report_.has_value() && !finished_.has_value(); }

 private:
  std::optional<v1::AttemptProgress> report_;       // not told yet
  std::optional<v1::AttemptProgress> last_report_;  // told, without its memory
  std::optional<v1::AttemptFinished> finished_;
  bool finished_told_ = false;
  std::uint64_t beats_told_ = 0;
  TimePoint told_at_;
};

}  // namespace ovi
