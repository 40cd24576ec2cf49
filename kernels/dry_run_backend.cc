#include "kernels/dry_run_backend.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

class ReservedBlock final : public DeviceBlock {
 public:
  ReservedBlock(std::byte* base, std::int64_t bytes) : base_(base), bytes_(bytes) {}
  ~ReservedBlock() override { munmap(base_, static_cast<std::size_t>(bytes_)); }
  std::byte* base() const override { return base_; }
  std::int64_t bytes() const override { return bytes_; }
  void Discard(std::int64_t, std::int64_t) override {}

 private:
  std::byte* base_;
  std::int64_t bytes_;
};

class NoEvent final : public Event {};

class DryRunStream final : public Stream {
 public:
  void Run(const Op& op) override {
    if (status_.ok()) status_ = Validate(op);
  }
  void Upload(const Tensor& dst, const HostTensor& src) override {
    Require(dst.dtype == src.dtype && dst.elements() == src.elements(), "upload", dst.shape, src.shape);
  }
  void Download(void*, const Tensor&) override {}
  void Copy(const Tensor& dst, const Tensor& src) override {
    Require(dst.dtype == src.dtype && dst.elements() == src.elements(), "copy", dst.shape, src.shape);
  }
  void Upload(const GemmWeight& dst, const HostTensor& src) override {
    Require(src.elements() == dst.n * dst.k && !dst.four_bit, "gemm weight", {dst.n, dst.k}, src.shape);
  }
  void Upload(const GemmWeight& dst, const FourBitRows& src) override {
    if (status_.ok()) status_ = Validate(dst, src);
  }
  void Upload(const ConvWeight& dst, const HostTensor& src) override {
    const Shape shape{dst.out_channels, dst.in_channels, dst.kernel[0], dst.kernel[1], dst.kernel[2]};
    Require(src.elements() == shape.elements(), "convolution weight", shape, src.shape);
  }
  void Upload(const ConvTransposeWeight& dst, const HostTensor& src) override {
    const Shape shape{dst.in_channels, dst.out_channels, dst.kernel};
    Require(src.elements() == shape.elements(), "transposed convolution weight", shape, src.shape);
  }

  void Record(Event&) override {}
  void Wait(const Event&) override {}
  absl::Status Sync() override { return status_; }

 private:
  void Require(bool fits, const char* what, const Shape& wanted, const Shape& given) {
    if (fits || !status_.ok()) return;
    status_ =
        absl::InternalError(absl::StrCat(what, ": ", given.ToString(), " does not fit ", wanted.ToString()));
  }

  absl::Status status_;
};

class DryRunBackend final : public Backend {
 public:
  explicit DryRunBackend(std::unique_ptr<Backend> device) : device_(std::move(device)) {}

  std::string_view name() const override { return "dry run"; }
  std::string WeightLayout() const override { return device_->WeightLayout(); }
  bool ReadsUploads() const override { return false; }

  absl::StatusOr<std::unique_ptr<DeviceBlock>> AllocateBlock(std::int64_t bytes) override {
    void* base = bytes <= 0 ? MAP_FAILED
                            : mmap(nullptr, static_cast<std::size_t>(bytes), PROT_NONE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat("dry run: no addresses for bytes_needed=", bytes, ": ", std::strerror(errno)));
    }
    return std::make_unique<ReservedBlock>(static_cast<std::byte*>(base), bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override { return std::make_unique<DryRunStream>(); }
  std::unique_ptr<Event> NewEvent() override { return std::make_unique<NoEvent>(); }

  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                                std::string_view what) override {
    return device_->AllocateGemmWeight(arena, dtype, n, k, what);
  }
  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                                std::int64_t k, std::string_view what) override {
    return device_->AllocateGemmWeight(arena, format, n, k, what);
  }
  absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                                std::int64_t in_channels, const Extent3& kernel,
                                                std::string_view what) override {
    return device_->AllocateConvWeight(arena, dtype, out_channels, in_channels, kernel, what);
  }
  absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                  std::int64_t in_channels,
                                                                  std::int64_t out_channels,
                                                                  std::int64_t kernel,
                                                                  std::string_view what) override {
    return device_->AllocateConvTransposeWeight(arena, dtype, in_channels, out_channels, kernel, what);
  }

 private:
  std::unique_ptr<Backend> device_;
};

}  // namespace

std::unique_ptr<Backend> MakeDryRunBackend(std::unique_ptr<Backend> device) {
  return std::make_unique<DryRunBackend>(std::move(device));
}

}  // namespace ovi
