// The one interface to a device: memory, copies and operations. Models and pipeline reach device memory only
// through it.
//
// Work is enqueued on a Stream and runs in order, later: an operation's result is there after Sync(), or for
// another stream after it waited for an Event. The CPU backend runs everything at once, which this contract
// allows. The first error sticks to the stream: what is enqueued after it does nothing, and Sync() returns
// it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/arena.h"
#include "kernels/op.h"

namespace ovi {

// A point in a stream. Destroy it only after the streams that use it are done.
class Event {
 public:
  virtual ~Event() = default;
};

// Thread-compatible. Host memory given to Upload and Download must stay valid until Sync().
class Stream {
 public:
  virtual ~Stream() = default;

  virtual void Run(const Op& op) = 0;

  // Host and device copies of equal dtype and element count.
  virtual void Upload(const Tensor& dst, const HostTensor& src) = 0;
  virtual void Download(void* dst, const Tensor& src) = 0;
  virtual void Copy(const Tensor& dst, const Tensor& src) = 0;

  // Weights are converted to the weight's dtype and laid out as the device likes them. `src` is (N, K),
  // (Co, Ci, [[kt,] kh,] kw) or (Ci, Co, k), of any float dtype. A matrix may also come quantised, i8 or
  // f8_e4m3 with scales. An int8 or e4m3 GemmWeight is quantised by rows on its way in, or takes rows of its
  // own dtype as they are.
  virtual void Upload(const GemmWeight& dst, const HostTensor& src) = 0;
  // One of 4 bits takes nothing but its own format.
  virtual void Upload(const GemmWeight& dst, const FourBitRows& src) = 0;
  virtual void Upload(const ConvWeight& dst, const HostTensor& src) = 0;
  virtual void Upload(const ConvTransposeWeight& dst, const HostTensor& src) = 0;

  virtual void Record(Event& event) = 0;
  virtual void Wait(const Event& event) = 0;
  virtual absl::Status Sync() = 0;
};

// Thread-safe: several streams may be driven from several threads.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  // Names the layout of packed weights, in at most 128 characters: devices with the same name can exchange
  // their bytes.
  virtual std::string WeightLayout() const = 0;
  // Whether it looks at what is uploaded. One that does not, need not be given values that take time to make.
  virtual bool ReadsUploads() const { return true; }
  // RESOURCE_EXHAUSTED when the device cannot give `bytes` in one piece.
  virtual absl::StatusOr<std::unique_ptr<DeviceBlock>> AllocateBlock(std::int64_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<Stream>> NewStream() = 0;
  virtual std::unique_ptr<Event> NewEvent() = 0;

  // Room for a weight, in the backend's layout; its bytes do not depend on the values.
  virtual absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n,
                                                        std::int64_t k, std::string_view what) = 0;
  virtual absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format,
                                                        std::int64_t n, std::int64_t k,
                                                        std::string_view what) = 0;
  virtual absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                                        std::int64_t in_channels, const Extent3& kernel,
                                                        std::string_view what) = 0;
  virtual absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                          std::int64_t in_channels,
                                                                          std::int64_t out_channels,
                                                                          std::int64_t kernel,
                                                                          std::string_view what) = 0;
};

}  // namespace ovi
