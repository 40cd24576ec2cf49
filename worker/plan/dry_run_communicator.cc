#include "worker/plan/dry_run_communicator.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ovi {
namespace {

class DryRunCommunicator final : public Communicator {
 public:
  DryRunCommunicator(int rank, int size, CommunicatorCounts* total)
      : rank_(rank), size_(size), total_(total) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending AllToAllV(Stream*, std::span<const Outgoing> send, std::span<const Incoming>) override {
    return Count(Exchange::kAllToAll, BytesToOthers(send));
  }
  Pending AllGatherV(Stream*, std::span<const std::byte> mine,
                     std::span<const std::span<std::byte>>) override {
    return Count(Exchange::kAllGather, static_cast<std::int64_t>(mine.size()) * (size_ - 1));
  }
  Pending Broadcast(Stream*, int root, std::span<std::byte> bytes) override {
    return Count(Exchange::kBroadcast,
                 root == rank_ ? static_cast<std::int64_t>(bytes.size()) * (size_ - 1) : 0);
  }
  Pending SendReceive(Stream*, std::span<const Outgoing> send, std::span<const Incoming>) override {
    return Count(Exchange::kSendReceive, BytesToOthers(send));
  }
  Pending Send(Stream*, int to, std::span<const std::byte> bytes) override {
    return Count(Exchange::kSend, to == rank_ ? 0 : static_cast<std::int64_t>(bytes.size()));
  }
  Pending Receive(Stream*, int, std::span<std::byte>) override { return Count(Exchange::kSend, 0); }

  void Advance() override {}
  absl::StatusOr<std::unique_ptr<Communicator>> Split(std::span<const int> ranks) override {
    const auto own = std::find(ranks.begin(), ranks.end(), rank_);
    OVI_CHECK(own != ranks.end());
    return std::make_unique<DryRunCommunicator>(static_cast<int>(own - ranks.begin()),
                                                static_cast<int>(ranks.size()), total_);
  }
  void SetInterruption(std::function<absl::Status()>) override {}
  absl::Status Settle() override { return absl::OkStatus(); }
  const CommunicatorCounts& counts() const override { return counts_; }
  void ResetCounts() override { counts_ = {}; }

 private:
  std::int64_t BytesToOthers(std::span<const Outgoing> send) const {
    std::int64_t bytes = 0;
    for (const Outgoing& piece : send) {
      if (piece.to != rank_) bytes += static_cast<std::int64_t>(piece.bytes.size());
    }
    return bytes;
  }
  Pending Count(Exchange exchange, std::int64_t bytes) {
    const auto kind = static_cast<std::size_t>(exchange);
    for (CommunicatorCounts* counts : {&counts_, total_}) {
      if (counts == nullptr) continue;
      ++counts->operations[kind];
      counts->bytes_sent[kind] += bytes;
    }
    return {};
  }

  const int rank_;
  const int size_;
  CommunicatorCounts* const total_;
  CommunicatorCounts counts_;
};

}  // namespace

std::unique_ptr<Communicator> MakeDryRunCommunicator(int rank, int size, CommunicatorCounts* total) {
  OVI_CHECK(rank >= 0 && rank < size);
  return std::make_unique<DryRunCommunicator>(rank, size, total);
}

}  // namespace ovi
