// A picture's rows dealt to the ranks of a group: what a rank reads of its neighbours' rows, and how the rows
// come together again.
//
// Tensors are (F, rows, W, C) of any dtype, dense, and lie where the stream computes; without a stream
// (nullptr), in host memory. Rows are counted in latents: of a picture of `factor` times as many rows, a rank
// has `factor` rows for each of its latent rows. Errors are the communicator's.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/tensor.h"
#include "worker/parallel/shards.h"

namespace ovi {

class Communicator;
class Stream;

// Without a communicator this rank computes all rows. With one, all of its ranks compute the same picture at
// the same time, each its rows. The communicator is borrowed.
struct RowSharding {
  Communicator* communicator = nullptr;
  std::vector<ShardRange> rows;  // of each rank; one may have none

  // This rank's of `total` rows, which is the sum of all.
  ShardRange RowsOfThisRank(std::int64_t total) const;
};

// Collective. Brings the pictures' rows together on rank `root`: `mine` has this rank's, and `all`, read on
// the root alone, gets all rows.
absl::Status GatherRows(const RowSharding& sharding, Stream* stream, const Tensor& mine, const Tensor& all,
                        int root);
// The same for every rank: `all` is written on all.
absl::Status AllGatherRows(const RowSharding& sharding, Stream* stream, const Tensor& mine,
                           const Tensor& all);

// The rows next to this rank's that its convolutions read and its neighbours compute: at most one above and
// one below. There is none at the picture's edges, where convolutions pad with zeros, nor without sharding.
class RowHalo {
 public:
  // kBelow: the convolution reads below its rows only, as one that halves does.
  enum class Reads { kAboveAndBelow, kBelow };

  RowHalo() = default;
  RowHalo(const RowSharding& sharding, Reads reads);

  std::int64_t above() const { return reads_ == Reads::kAboveAndBelow && neighbours_.above ? 1 : 0; }
  std::int64_t below() const { return neighbours_.below ? 1 : 0; }
  bool empty() const { return above() + below() == 0; }

  // Of frames (F, above() + rows + below(), W, C), this rank's rows. F is 1, unless there is no halo.
  Tensor Inner(const Tensor& frames) const;
  // Fills the halo of frames, of which this rank's rows are there. The neighbours do the same.
  absl::Status Exchange(Stream& stream, const Tensor& frames) const;

 private:
  Communicator* communicator_ = nullptr;
  RowNeighbours neighbours_;
  Reads reads_ = Reads::kAboveAndBelow;
};

// Rows `begin` to `begin + count` - 1 of frames (F, H, W, C): of one, or all rows.
Tensor RowsOf(const Tensor& frames, std::int64_t begin, std::int64_t count);

}  // namespace ovi
