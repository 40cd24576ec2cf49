#include "worker/group/peer_watch.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

constexpr std::chrono::microseconds kSettleNapLongest{2'000};

}  // namespace

PeerWatch::PeerWatch(MpiSession& session, std::uint32_t sequence)
    : session_(session), sequence_(sequence), words_(static_cast<std::size_t>(session.size())) {}

absl::StatusOr<bool> PeerWatch::Listen() {
  bool all = true;
  for (int rank = 0; rank < session_.size(); ++rank) {
    std::optional<PeerOutcome>& word = words_[static_cast<std::size_t>(rank)];
    if (word || rank == session_.rank()) continue;
    OVI_ASSIGN_OR_RETURN(const std::optional<std::string> text, session_.TryReceive(rank, Tag()));
    if (text) {
      OVI_ASSIGN_OR_RETURN(word, DecodeOutcome(*text));
    }
    all &= word.has_value();
  }
  return all;
}

absl::Status PeerWatch::Interruption() {
  OVI_RETURN_IF_ERROR(Listen().status());
  for (std::size_t rank = 0; rank < words_.size(); ++rank) {
    // One that stopped because another had is no reason by itself.
    if (!words_[rank] || words_[rank]->status.ok() || absl::IsAborted(words_[rank]->status)) continue;
    return absl::AbortedError(absl::StrCat("rank ", rank, ": ", words_[rank]->status.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PeerOutcome>> PeerWatch::Settle(const PeerOutcome& mine,
                                                           const std::vector<Communicator*>& communicators) {
  const std::string text = Encode(mine);
  for (int rank = 0; rank < session_.size(); ++rank) {
    if (rank != session_.rank()) OVI_RETURN_IF_ERROR(session_.Send(rank, Tag(), text));
  }
  for (Nap nap(kSettleNapLongest);; nap.Take()) {
    OVI_ASSIGN_OR_RETURN(const bool all_told, Listen());
    OVI_ASSIGN_OR_RETURN(const bool all_sent, session_.AllSent());
    if (all_told && all_sent) break;
  }
  for (Communicator* communicator : communicators) OVI_RETURN_IF_ERROR(communicator->Settle());
  words_[static_cast<std::size_t>(session_.rank())] = mine;
  std::vector<PeerOutcome> told;
  for (const std::optional<PeerOutcome>& word : words_) told.push_back(*word);
  return told;
}

}  // namespace ovi
