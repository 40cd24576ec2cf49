// Layers of the video autoencoder that both halves share.
//
// Activations are (T, H, W, C) f32. A layer is given the frames of a clip in order, in chunks of any length,
// and keeps what it has to remember from one chunk to the next; Begin forgets the last clip. Everything is
// borrowed from the Runtime, and memory comes from its arena.
//
// Begin is told how many rows this rank computes, and of which picture (RowHalo; all of it without one). Only
// 3x3 convolutions read other ranks' rows: their inputs, remembered frames included, have room for them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/params.h"
#include "worker/model/row_sharding.h"
#include "worker/model/runtime.h"
#include "worker/model/video_vae_layout.h"

namespace ovi::video_vae {

// What the callback says; OK without one.
inline absl::Status Pause(const BetweenBlocks& between_blocks) {
  return between_blocks ? between_blocks() : absl::OkStatus();
}

// Zero padding of a 3x3 convolution in space, of an input that has the halo's rows.
inline Extent3 PadBefore(const RowHalo& halo) {
  return {0, 1 - halo.above(), 1};
}
inline Extent3 PadAfter(const RowHalo& halo) {
  return {0, 1 - halo.below(), 1};
}

// Frames (T, H, W, C) with the halo's rows, which the neighbours are sent in return: `x` itself where there
// are none to read. Lives in the caller's ArenaScope.
absl::StatusOr<Tensor> WithHalo(const Runtime& runtime, const RowHalo& halo, const Tensor& x);

// The last frames a causal convolution was given.
class FrameHistory {
 public:
  FrameHistory() = default;
  FrameHistory(std::int64_t frames, std::int64_t channels) : frames_(frames), channels_(channels) {}

  // Allocates the memory, and clears it: a clip is preceded by zeros.
  absl::Status Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols, const RowHalo& halo = {});
  const RowHalo& halo() const { return halo_; }
  // (history + frames, halo + H, W, C): the remembered frames, then room for new ones. Lives in the caller's
  // ArenaScope.
  absl::StatusOr<Tensor> Open(const Runtime& runtime, std::int64_t frames) const;
  // The room for new frames in what Open gave.
  Tensor Fresh(const Tensor& opened) const { return opened.Slice(frames_, opened.shape[0] - frames_); }
  // Makes the new frames in what Open gave: write(begin, count, to) writes this rank's rows of new frames
  // `begin` to `begin + count` - 1, the neighbours send theirs.
  template <typename Write>
  absl::Status FillFresh(const Runtime& runtime, const Tensor& opened, const Write& write) const {
    const Tensor fresh = Fresh(opened);
    const std::int64_t count = halo_.empty() ? fresh.shape[0] : 1;
    for (std::int64_t t = 0; t < fresh.shape[0]; t += count)
      write(t, count, halo_.Inner(fresh.Slice(t, count)));
    return halo_.Exchange(runtime.stream, fresh);
  }
  // Remembers the last frames of `frames`, which has at least as many.
  void Save(const Runtime& runtime, const Tensor& frames) const;

 private:
  std::int64_t frames_ = 0;
  std::int64_t channels_ = 0;
  std::int64_t rows_ = 0;  // with the halo's
  std::int64_t cols_ = 0;
  RowHalo halo_;
  Tensor remembered_;  // (frames_, rows_, W, C)
};

// Convolution of kernel 3x3x3: zero padding in space, the frames before in time.
struct CausalConv {
  ConvParams params;
  FrameHistory history;

  static absl::StatusOr<CausalConv> Load(ParamLoader& loader, const std::string& prefix, std::int64_t co,
                                         std::int64_t ci, VideoVaeInput input);
  // `opened` comes from history.Open, with the fresh frames filled in. `residual` may be empty, or be `out`.
  void Run(const Runtime& runtime, const Tensor& opened, const Tensor& residual, const Tensor& out) const;
};

// conv(silu(norm(x))).
struct NormConv {
  Tensor gamma;
  CausalConv conv;

  static absl::StatusOr<NormConv> Load(ParamLoader& loader, const std::string& norm_name,
                                       const std::string& conv_prefix, std::int64_t co, std::int64_t ci,
                                       VideoVaeInput input);
  absl::Status Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols, const RowHalo& halo = {}) {
    return conv.history.Begin(runtime, rows, cols, halo);
  }
  // The convolution's input, normalised. Lives in the caller's ArenaScope.
  absl::StatusOr<Tensor> Prepare(const Runtime& runtime, const Tensor& x) const;
  absl::Status Run(const Runtime& runtime, const Tensor& x, const Tensor& out) const;
};

// x + two NormConvs of x; x goes through a 1x1x1 convolution where the channels change.
struct ResidualBlock {
  NormConv first;
  NormConv second;
  std::optional<ConvParams> shortcut;

  static absl::StatusOr<ResidualBlock> Load(ParamLoader& loader, const std::string& prefix, std::int64_t ci,
                                            std::int64_t co, VideoVaeInput input);
  absl::Status Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols, const RowHalo& halo = {});
  // `hidden` (T, H, W, Co) is scratch. `out` is `hidden`, or `x` where the channels do not change.
  absl::Status Run(const Runtime& runtime, const Tensor& x, const Tensor& hidden, const Tensor& out) const;
};

// Several residual blocks, of which the first may change the channels.
struct ResidualChain {
  std::vector<ResidualBlock> blocks;

  static absl::StatusOr<ResidualChain> Load(ParamLoader& loader, const std::string& prefix,
                                            std::int64_t count, const VideoVaeLevel& level,
                                            VideoVaeInput input);
  absl::Status Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols, const RowHalo& halo = {});
  // x (T, H, W, Ci) stays as it is; out (T, H, W, Co) is other memory.
  absl::Status Run(const Runtime& runtime, const Tensor& x, const Tensor& out,
                   const BetweenBlocks& between) const;
};

// Self-attention of one head over the pixels of each frame, added to its input.
struct PixelAttention {
  Tensor gamma;
  LinearParams q, k, v, proj;

  static absl::StatusOr<PixelAttention> Load(ParamLoader& loader, const std::string& prefix,
                                             std::int64_t channels);
  absl::Status Run(const Runtime& runtime, const Tensor& x) const;  // in place
};

// The lowest resolution: residual, attention, residual.
struct MiddleBlock {
  ResidualBlock first;
  PixelAttention attention;
  ResidualBlock last;

  static absl::StatusOr<MiddleBlock> Load(ParamLoader& loader, const std::string& prefix,
                                          std::int64_t channels, VideoVaeInput input);
  absl::Status Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols);
  absl::Status Run(const Runtime& runtime, const Tensor& x, const BetweenBlocks& between) const;  // in place
};

// A 1x1x1 convolution as a matrix product: x (T, H, W, Ci), out (T, H, W, Co).
void RunPointwise(const Runtime& runtime, const LinearParams& params, const Tensor& x, const Tensor& out);

// (positions, C) of a (T, H, W, C).
Tensor FlatPositions(const Tensor& x);

}  // namespace ovi::video_vae
