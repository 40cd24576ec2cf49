#include "worker/group/outbox.h"

#include <utility>

namespace ovi {

void Outbox::Report(v1::AttemptProgress progress) {
  if (report_) {
    for (v1::MemoryReport& memory : *report_->mutable_memory()) *progress.add_memory() = std::move(memory);
  }
  report_ = std::move(progress);
}

void Outbox::Finish(v1::AttemptFinished finished) {
  finished_ = std::move(finished);
  finished_told_ = false;
}

bool Outbox::IsAcknowledgedBy(const v1::AttemptRef& attempt) const {
  return finished_ && SameAttempt(finished_->attempt(), attempt);
}

std::optional<v1::GroupMessage> Outbox::Next(std::uint64_t beats, TimePoint now) {
  v1::GroupMessage message;
  if (report_) {
    *message.mutable_progress() = *std::exchange(report_, std::nullopt);
    last_report_ = message.progress();
    last_report_->clear_memory();
  } else if (finished_ && !finished_told_) {
    *message.mutable_finished() = *finished_;
    finished_told_ = true;
  } else if (this->beats() && beats != beats_told_ && now - told_at_ >= kHeartbeat) {
    *message.mutable_progress() = *last_report_;
  } else {
    return std::nullopt;
  }
  beats_told_ = beats;
  told_at_ = now;
  return message;
}

}  // namespace ovi
