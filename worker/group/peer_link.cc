#include "worker/group/peer_link.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

constexpr std::chrono::microseconds kNapLongest{500};  // a step takes at least tens of milliseconds
constexpr std::chrono::microseconds kSettleNapLongest{2'000};

}  // namespace

PeerLink::PeerLink(MpiSession& session, GuidancePass pass, std::uint32_t sequence,
                   std::function<absl::Status()> stop)
    : session_(session),
      peer_(pass == GuidancePass::kPositive ? 1 : 0),
      pass_(pass),
      sequence_(sequence),
      stop_(std::move(stop)) {}

absl::Status PeerLink::Pump() {
  for (;;) {
    OVI_ASSIGN_OR_RETURN(std::optional<std::string> values,
                         session_.TryReceive(peer_, Tag(MessageKind::kValues)));
    if (!values) break;
    ++received_;
    inbox_.push_back(*std::move(values));
  }
  if (outcome_) return absl::OkStatus();
  OVI_ASSIGN_OR_RETURN(const std::optional<std::string> word,
                       session_.TryReceive(peer_, Tag(MessageKind::kOutcome)));
  if (!word) return absl::OkStatus();
  OVI_ASSIGN_OR_RETURN(outcome_, DecodeOutcome(*word));
  return absl::OkStatus();
}

absl::Status PeerLink::WaitUntil(const std::function<absl::StatusOr<bool>()>& done) {
  for (Nap nap(kNapLongest);; nap.Take()) {
    OVI_RETURN_IF_ERROR(Pump());
    OVI_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    if (outcome_ && !outcome_->status.ok()) return Interruption();
    if (stop_) OVI_RETURN_IF_ERROR(stop_());
  }
}

absl::Status PeerLink::Send(std::span<const float> values) {
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  OVI_RETURN_IF_ERROR(session_.Send(peer_, Tag(MessageKind::kValues), bytes));
  ++sent_;
  // A large message moves only while its sender is in MPI, so it must be gone before we compute on.
  return WaitUntil([this] { return session_.AllSent(); });
}

absl::Status PeerLink::Receive(std::vector<float>& values) {
  OVI_RETURN_IF_ERROR(WaitUntil([this]() -> absl::StatusOr<bool> { return !inbox_.empty(); }));
  const std::string& bytes = inbox_.front();
  values.resize(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  inbox_.pop_front();
  return absl::OkStatus();
}

absl::Status PeerLink::Interruption() {
  if (!outcome_) {
    OVI_ASSIGN_OR_RETURN(const bool has_word, session_.HasMessage(peer_, Tag(MessageKind::kOutcome)));
    if (has_word) OVI_RETURN_IF_ERROR(Pump());
  }
  if (!outcome_ || outcome_->status.ok()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("rank ", peer_, ": ", outcome_->status.message()));
}

absl::StatusOr<PeerOutcome> PeerLink::Settle(const absl::Status& status,
                                             const std::vector<StageReport>& stages) {
  const PeerOutcome mine{.status = status, .stages = stages, .messages_sent = sent_};
  OVI_RETURN_IF_ERROR(session_.Send(peer_, Tag(MessageKind::kOutcome), Encode(mine)));
  for (Nap nap(kSettleNapLongest);; nap.Take()) {
    OVI_RETURN_IF_ERROR(Pump());
    OVI_ASSIGN_OR_RETURN(const bool all_sent, session_.AllSent());
    if (outcome_ && received_ == outcome_->messages_sent && all_sent) break;
  }
  inbox_.clear();
  return *outcome_;
}

}  // namespace ovi
