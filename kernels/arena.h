// One block of device memory with a hard byte limit, handed out as a stack.
// Every byte a worker uses on a device comes from its arena, so the arena's peak is the job's VRAM peak.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace ovi {

// The block itself, made by a Backend. Destroying it frees the memory.
class DeviceBlock {
 public:
  virtual ~DeviceBlock() = default;
  virtual std::byte* base() const = 0;
  virtual std::int64_t bytes() const = 0;
  // The range holds nothing any more: a backend that can, gives its pages back to the system.
  virtual void Discard(std::int64_t offset, std::int64_t bytes) = 0;
};

// A block inside a tensor (U8), for an arena of its own there. The tensor's memory must outlive it.
std::unique_ptr<DeviceBlock> BlockIn(const Tensor& room);

// What memory is for, as plans and reports tell it apart.
enum class MemoryUse { kActivations, kWeights, kWeightBuffers, kCommunication };
inline constexpr std::size_t kMemoryUses = 4;
using BytesByUse = std::array<std::int64_t, kMemoryUses>;

// Thread-compatible (callers serialise). Memory is not cleared.
class Arena {
 public:
  static constexpr std::int64_t kAlignment = 64;

  explicit Arena(std::unique_ptr<DeviceBlock> block);

  // `what` names the tensor in the error. RESOURCE_EXHAUSTED, with the bytes needed, free and in all, when it
  // does not fit.
  absl::StatusOr<Tensor> Allocate(DType dtype, const Shape& shape, std::string_view what);

  std::int64_t bytes_max() const { return block_->bytes(); }
  std::int64_t bytes_in_use() const { return offset_; }
  std::int64_t bytes_free() const { return bytes_max() - offset_; }
  std::int64_t bytes_peak() const { return bytes_peak_; }
  // What the peak was made of when it was reached; its sum is bytes_peak().
  const BytesByUse& peak_by_use() const { return peak_by_use_; }
  void ResetPeak() {
    bytes_peak_ = offset_;
    peak_by_use_ = in_use_;
  }
  // What is allocated from now on is for; the return value is what it was for before. See ArenaUse.
  MemoryUse SetUse(MemoryUse use) { return std::exchange(use_, use); }

  // Takes back everything allocated since bytes_in_use() was `mark`, for the next to be allocated.
  void ReleaseTo(std::int64_t mark);
  // Lets the device drop what has been released: at the end of a stage, not of a layer, since what is used
  // again at once would only be made anew.
  void Trim();

 private:
  // Memory from `begin` on, to the next run's, is for `use`.
  struct Run {
    std::int64_t begin = 0;
    MemoryUse use = MemoryUse::kActivations;
  };

  std::unique_ptr<DeviceBlock> block_;
  std::int64_t offset_ = 0;
  std::int64_t bytes_peak_ = 0;
  MemoryUse use_ = MemoryUse::kActivations;
  std::vector<Run> runs_;
  BytesByUse in_use_{};
  BytesByUse peak_by_use_{};
  std::int64_t bytes_touched_ = 0;  // highest offset since the last Trim
};

// Gives back, at its end, what was allocated during its life. Ops already enqueued on the stream may still
// use that memory: the next user is enqueued after them on the same stream.
class [[nodiscard]] ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.bytes_in_use()) {}
  ~ArenaScope() { arena_.ReleaseTo(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  std::int64_t mark_;
};

// What is allocated during its life is for `use`.
class [[nodiscard]] ArenaUse {
 public:
  ArenaUse(Arena& arena, MemoryUse use) : arena_(arena), before_(arena.SetUse(use)) {}
  ~ArenaUse() { arena_.SetUse(before_); }
  ArenaUse(const ArenaUse&) = delete;
  ArenaUse& operator=(const ArenaUse&) = delete;

 private:
  Arena& arena_;
  MemoryUse before_;
};

}  // namespace ovi
