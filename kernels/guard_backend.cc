#include "kernels/guard_backend.h"

#include <sys/mman.h>

#include <mutex>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

// The blocks in existence, all of them open or all of them closed: open while any stream works on them.
class Gate {
 public:
  void Add(const DeviceBlock* block) {
    const std::lock_guard lock(mutex_);
    blocks_.insert(block);
    Protect(block, open_depth_ > 0);
  }
  void Remove(const DeviceBlock* block) {
    const std::lock_guard lock(mutex_);
    Protect(block, true);
    blocks_.erase(block);
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    if (open_depth_++ == 0) ProtectAll(true);
  }
  void Close() {
    const std::lock_guard lock(mutex_);
    if (--open_depth_ == 0) ProtectAll(false);
  }

 private:
  static void Protect(const DeviceBlock* block, bool open) {
    const int protection = open ? PROT_READ | PROT_WRITE : PROT_NONE;
    OVI_CHECK(mprotect(block->base(), static_cast<std::size_t>(block->bytes()), protection) == 0);
  }
  void ProtectAll(bool open) {
    for (const DeviceBlock* block : blocks_) Protect(block, open);
  }

  std::mutex mutex_;
  std::set<const DeviceBlock*> blocks_;
  int open_depth_ = 0;
};

class [[nodiscard]] Opened {
 public:
  explicit Opened(Gate& gate) : gate_(gate) { gate_.Open(); }
  ~Opened() { gate_.Close(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  Gate& gate_;
};

class GuardBlock final : public DeviceBlock {
 public:
  GuardBlock(std::unique_ptr<DeviceBlock> inner, std::shared_ptr<Gate> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {
    gate_->Add(inner_.get());
  }
  ~GuardBlock() override { gate_->Remove(inner_.get()); }
  std::byte* base() const override { return inner_->base(); }
  std::int64_t bytes() const override { return inner_->bytes(); }
  void Discard(std::int64_t offset, std::int64_t bytes) override { inner_->Discard(offset, bytes); }

 private:
  std::unique_ptr<DeviceBlock> inner_;
  std::shared_ptr<Gate> gate_;
};

class GuardStream final : public Stream {
 public:
  GuardStream(std::unique_ptr<Stream> inner, std::shared_ptr<Gate> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}

  void Run(const Op& op) override {
    Opened opened(*gate_);
    inner_->Run(op);
  }
  void Upload(const Tensor& dst, const HostTensor& src) override { UploadOpened(dst, src); }
  void Upload(const GemmWeight& dst, const HostTensor& src) override { UploadOpened(dst, src); }
  void Upload(const GemmWeight& dst, const FourBitRows& src) override { UploadOpened(dst, src); }
  void Upload(const ConvWeight& dst, const HostTensor& src) override { UploadOpened(dst, src); }
  void Upload(const ConvTransposeWeight& dst, const HostTensor& src) override { UploadOpened(dst, src); }
  void Download(void* dst, const Tensor& src) override {
    Opened opened(*gate_);
    inner_->Download(dst, src);
  }
  void Copy(const Tensor& dst, const Tensor& src) override {
    Opened opened(*gate_);
    inner_->Copy(dst, src);
  }
  void Record(Event& event) override { inner_->Record(event); }
  void Wait(const Event& event) override { inner_->Wait(event); }
  absl::Status Sync() override { return inner_->Sync(); }

 private:
  template <typename Destination, typename Source>
  void UploadOpened(const Destination& dst, const Source& src) {
    Opened opened(*gate_);
    inner_->Upload(dst, src);
  }

  std::unique_ptr<Stream> inner_;
  std::shared_ptr<Gate> gate_;
};

class GuardBackend final : public Backend {
 public:
  explicit GuardBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return "guard"; }
  std::string WeightLayout() const override { return inner_->WeightLayout(); }
  absl::StatusOr<std::unique_ptr<DeviceBlock>> AllocateBlock(std::int64_t bytes) override {
    OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, inner_->AllocateBlock(bytes));
    return std::make_unique<GuardBlock>(std::move(block), gate_);
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override {
    OVI_ASSIGN_OR_RETURN(std::unique_ptr<Stream> stream, inner_->NewStream());
    return std::make_unique<GuardStream>(std::move(stream), gate_);
  }
  std::unique_ptr<Event> NewEvent() override { return inner_->NewEvent(); }

  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                                std::string_view what) override {
    Opened opened(*gate_);
    return inner_->AllocateGemmWeight(arena, dtype, n, k, what);
  }
  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                                std::int64_t k, std::string_view what) override {
    Opened opened(*gate_);
    return inner_->AllocateGemmWeight(arena, format, n, k, what);
  }
  absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                                std::int64_t in_channels, const Extent3& kernel,
                                                std::string_view what) override {
    Opened opened(*gate_);
    return inner_->AllocateConvWeight(arena, dtype, out_channels, in_channels, kernel, what);
  }
  absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                  std::int64_t in_channels,
                                                                  std::int64_t out_channels,
                                                                  std::int64_t kernel,
                                                                  std::string_view what) override {
    Opened opened(*gate_);
    return inner_->AllocateConvTransposeWeight(arena, dtype, in_channels, out_channels, kernel, what);
  }

 private:
  std::unique_ptr<Backend> inner_;
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

}  // namespace

std::unique_ptr<Backend> MakeGuardBackend(std::unique_ptr<Backend> inner) {
  return std::make_unique<GuardBackend>(std::move(inner));
}

}  // namespace ovi
