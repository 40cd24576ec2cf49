#include "worker/model/row_sharding.h"

#include "base/check.h"
#include "base/status.h"
#include "kernels/backend.h"
#include "worker/parallel/communicator.h"

namespace ovi {
namespace {

// The rows of a rank in frame `t` of whole pictures.
std::span<std::byte> PartOf(const Tensor& all, const RowSharding& sharding, int rank, std::int64_t t) {
  const std::int64_t factor = all.shape[1] / sharding.rows.back().end;
  const ShardRange rows = sharding.rows[static_cast<std::size_t>(rank)];
  return BytesOf(RowsOf(all.Slice(t, 1), factor * rows.begin, factor * rows.size()));
}

}  // namespace

Tensor RowsOf(const Tensor& frames, std::int64_t begin, std::int64_t count) {
  if (count == frames.shape[1]) return frames;
  OVI_CHECK(frames.shape[0] == 1);  // the rows of several do not follow each other
  return frames.Reshaped({frames.shape[1], frames.shape[2], frames.shape[3]})
      .Slice(begin, count)
      .Reshaped({1, count, frames.shape[2], frames.shape[3]});
}

ShardRange RowSharding::RowsOfThisRank(std::int64_t total) const {
  if (communicator == nullptr) return {0, total};
  OVI_CHECK(std::ssize(rows) == communicator->size() && rows.back().end == total);
  return rows[static_cast<std::size_t>(communicator->rank())];
}

absl::Status GatherRows(const RowSharding& sharding, Stream* stream, const Tensor& mine, const Tensor& all,
                        int root) {
  Communicator& communicator = *sharding.communicator;
  std::vector<Outgoing> send;
  std::vector<Incoming> receive;
  for (std::int64_t t = 0; t < mine.shape[0]; ++t) {
    send.push_back({root, BytesOf(mine.Slice(t, 1))});
    if (communicator.rank() != root) continue;
    for (int rank = 0; rank < communicator.size(); ++rank) {
      receive.push_back({rank, PartOf(all, sharding, rank, t)});
    }
  }
  return communicator.AllToAllV(stream, send, receive).Wait();
}

absl::Status AllGatherRows(const RowSharding& sharding, Stream* stream, const Tensor& mine,
                           const Tensor& all) {
  Communicator& communicator = *sharding.communicator;
  for (std::int64_t t = 0; t < all.shape[0]; ++t) {
    std::vector<std::span<std::byte>> parts;
    for (int rank = 0; rank < communicator.size(); ++rank) parts.push_back(PartOf(all, sharding, rank, t));
    OVI_RETURN_IF_ERROR(communicator.AllGatherV(stream, BytesOf(mine.Slice(t, 1)), parts).Wait());
  }
  return absl::OkStatus();
}

RowHalo::RowHalo(const RowSharding& sharding, Reads reads)
    : communicator_(sharding.communicator), reads_(reads) {
  if (communicator_ != nullptr) neighbours_ = NeighboursOf(sharding.rows, communicator_->rank());
}

Tensor RowHalo::Inner(const Tensor& frames) const {
  return RowsOf(frames, above(), frames.shape[1] - above() - below());
}

absl::Status RowHalo::Exchange(Stream& stream, const Tensor& frames) const {
  if (!neighbours_.above && !neighbours_.below) return absl::OkStatus();
  std::vector<Outgoing> send;
  std::vector<Incoming> receive;
  const std::int64_t end = frames.shape[1] - below();
  for (std::int64_t t = 0; t < frames.shape[0]; ++t) {
    const auto row = [&](std::int64_t index) { return BytesOf(RowsOf(frames.Slice(t, 1), index, 1)); };
    if (neighbours_.above) {
      send.push_back({*neighbours_.above, row(above())});
      if (above() > 0) receive.push_back({*neighbours_.above, row(0)});
    }
    if (neighbours_.below) {
      if (reads_ == Reads::kAboveAndBelow) send.push_back({*neighbours_.below, row(end - 1)});
      receive.push_back({*neighbours_.below, row(end)});
    }
  }
  return communicator_->SendReceive(&stream, send, receive).Wait();
}

}  // namespace ovi
