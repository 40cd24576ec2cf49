#include "kernels/cpu/cpu_backend.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quantise.h"

namespace ovi {
namespace {

// Pages come from the system when they are first written, so a large block costs what is used of it.
class CpuBlock final : public DeviceBlock {
 public:
  CpuBlock(std::byte* base, std::int64_t bytes) : base_(base), bytes_(bytes) {}
  ~CpuBlock() override { munmap(base_, static_cast<std::size_t>(bytes_)); }
  std::byte* base() const override { return base_; }
  std::int64_t bytes() const override { return bytes_; }

  void Discard(std::int64_t offset, std::int64_t bytes) override {
    constexpr std::int64_t kPage = 4096;
    const std::int64_t begin = (offset + kPage - 1) / kPage * kPage;
    const std::int64_t end = (offset + bytes) / kPage * kPage;
    if (begin < end) madvise(base_ + begin, static_cast<std::size_t>(end - begin), MADV_DONTNEED);
  }

 private:
  std::byte* base_;
  std::int64_t bytes_;
};

class CpuEvent final : public Event {};

class CpuStream final : public Stream {
 public:
  void Run(const Op& op) override {
    if (!status_.ok()) return;
    Note(Validate(op));
    if (!status_.ok()) return;
    const std::lock_guard turn(Turns());
    Note(std::visit([](const auto& concrete) { return Execute(concrete); }, op));
  }

  void Upload(const Tensor& dst, const HostTensor& src) override {
    if (!Matches(dst, src.dtype, src.elements(), "upload")) return;
    if (dst.bytes() > 0) std::memcpy(dst.data, src.data, static_cast<std::size_t>(dst.bytes()));
  }
  void Download(void* dst, const Tensor& src) override {
    if (status_.ok() && src.bytes() > 0) std::memcpy(dst, src.data, static_cast<std::size_t>(src.bytes()));
  }
  void Copy(const Tensor& dst, const Tensor& src) override {
    if (!Matches(dst, src.dtype, src.elements(), "copy")) return;
    if (dst.bytes() > 0) std::memmove(dst.data, src.data, static_cast<std::size_t>(dst.bytes()));
  }
  void Upload(const GemmWeight& dst, const HostTensor& src) override {
    const std::lock_guard turn(Turns());
    if (status_.ok()) Note(cpu::PackGemmWeight(dst, src));
  }
  void Upload(const GemmWeight& dst, const FourBitRows& src) override {
    const std::lock_guard turn(Turns());
    if (status_.ok()) Note(cpu::PackGemmWeight(dst, src));
  }
  void Upload(const ConvWeight& dst, const HostTensor& src) override {
    const std::lock_guard turn(Turns());
    if (status_.ok()) Note(cpu::PackConvWeight(dst, src));
  }
  void Upload(const ConvTransposeWeight& dst, const HostTensor& src) override {
    const std::lock_guard turn(Turns());
    if (status_.ok()) Note(cpu::PackConvTransposeWeight(dst, src));
  }

  // Everything enqueued has run already.
  void Record(Event&) override {}
  void Wait(const Event&) override {}
  absl::Status Sync() override { return status_; }

 private:
  static absl::Status Execute(const Gemm& op) { return cpu::RunGemm(op); }
  static absl::Status Execute(const QuantiseRows& op) { return cpu::RunQuantiseRows(op); }
  static absl::Status Execute(const Attention& op) { return cpu::RunAttention(op); }
  static absl::Status Execute(const Conv& op) { return cpu::RunConv(op); }
  static absl::Status Execute(const ConvTranspose& op) { return cpu::RunConvTranspose(op); }
  static absl::Status Execute(const LayerNorm& op) { return cpu::RunLayerNorm(op), absl::OkStatus(); }
  static absl::Status Execute(const RmsNorm& op) { return cpu::RunRmsNorm(op), absl::OkStatus(); }
  static absl::Status Execute(const Rope& op) { return cpu::RunRope(op), absl::OkStatus(); }
  static absl::Status Execute(const ChannelNorm& op) { return cpu::RunChannelNorm(op), absl::OkStatus(); }
  static absl::Status Execute(const Elementwise& op) { return cpu::RunElementwise(op), absl::OkStatus(); }
  static absl::Status Execute(const Fill& op) { return cpu::RunFill(op), absl::OkStatus(); }
  static absl::Status Execute(const Permute& op) { return cpu::RunPermute(op), absl::OkStatus(); }
  static absl::Status Execute(const CopyColumns& op) { return cpu::RunCopyColumns(op), absl::OkStatus(); }
  static absl::Status Execute(const MergeAttention& op) {
    return cpu::RunMergeAttention(op), absl::OkStatus();
  }
  static absl::Status Execute(const Upsample& op) { return cpu::RunUpsample(op), absl::OkStatus(); }
  static absl::Status Execute(const UpShortcut& op) { return cpu::RunUpShortcut(op), absl::OkStatus(); }
  static absl::Status Execute(const DownShortcut& op) { return cpu::RunDownShortcut(op), absl::OkStatus(); }
  static absl::Status Execute(const AntiAliasedSnake& op) {
    return cpu::RunAntiAliasedSnake(op), absl::OkStatus();
  }

  // Streams of several threads take turns: oneDNN's primitives are kept for all of them and share scratch
  // memory (two engines in one process decoded other frames than one). An op uses all threads anyway.
  static std::mutex& Turns() {
    static std::mutex mutex;
    return mutex;
  }

  void Note(const absl::Status& status) { status_.Update(status); }

  bool Matches(const Tensor& dst, DType dtype, std::int64_t elements, std::string_view what) {
    if (!status_.ok()) return false;
    if (dst.dtype == dtype && dst.elements() == elements) return true;
    Note(absl::InternalError(absl::StrCat(std::string(what), ": ", std::string(DTypeName(dtype)), " x ",
                                          elements, " does not fit ", std::string(DTypeName(dst.dtype)), " ",
                                          dst.shape.ToString())));
    return false;
  }

  absl::Status status_;
};

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }

  std::string WeightLayout() const override {
    const cpu::Features& features = cpu::CpuFeatures();
    const auto kernel = [&](DType dtype) {
      return std::string(cpu::GemmKernelName(cpu::ChooseGemmKernel(dtype, features)));
    };
    (void)cpu::DnnlEngine();  // sets the instruction set that is asked for next
    // Files on disk follow from this: with another order of bytes in any of them, the number changes.
    return absl::StrCat("cpu 1: bf16 ", kernel(DType::kBF16), ", int8 ", kernel(DType::kI8),
                        ", e4m3 and 4 bits ", kernel(DType::kF8E4M3), ", oneDNN isa ",
                        static_cast<int>(dnnl::get_effective_cpu_isa()));
  }

  absl::StatusOr<std::unique_ptr<DeviceBlock>> AllocateBlock(std::int64_t bytes) override {
    void* base = bytes <= 0 ? MAP_FAILED
                            : mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat("cpu backend: no block of bytes_needed=", bytes, ": ", std::strerror(errno)));
    }
    madvise(base, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
    return std::make_unique<CpuBlock>(static_cast<std::byte*>(base), bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override { return std::make_unique<CpuStream>(); }
  std::unique_ptr<Event> NewEvent() override { return std::make_unique<CpuEvent>(); }

  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                                std::string_view what) override {
    return cpu::AllocateGemmWeight(arena, dtype, n, k, what);
  }
  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                                std::int64_t k, std::string_view what) override {
    return cpu::AllocateGemmWeight(arena, format, n, k, what);
  }
  absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                                std::int64_t in_channels, const Extent3& kernel,
                                                std::string_view what) override {
    return cpu::AllocateConvWeight(arena, dtype, out_channels, in_channels, kernel, what);
  }
  absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                  std::int64_t in_channels,
                                                                  std::int64_t out_channels,
                                                                  std::int64_t kernel,
                                                                  std::string_view what) override {
    return cpu::AllocateConvTransposeWeight(arena, dtype, in_channels, out_channels, kernel, what);
  }
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend() {
  return std::make_unique<CpuBackend>();
}

}  // namespace ovi
