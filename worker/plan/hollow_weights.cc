#include "worker/plan/hollow_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

// Zeros to read, as many as are asked for: the system maps all of them to one page that it has anyway.
class Zeros {
 public:
  static absl::StatusOr<std::unique_ptr<Zeros>> Map(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
    void* base = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no addresses for bytes_needed=", bytes, ": ", std::strerror(errno)));
    }
    madvise(base, size, MADV_HUGEPAGE);
    return std::unique_ptr<Zeros>(new Zeros(base, size));
  }
  ~Zeros() { munmap(base_, size_); }
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;

  const void* data() const { return base_; }

 private:
  Zeros(void* base, std::size_t size) : base_(base), size_(size) {}

  void* base_;
  std::size_t size_;
};

class HollowWeights final : public WeightSource {
 public:
  HollowWeights(std::unique_ptr<WeightSource> file, std::unique_ptr<Zeros> zeros)
      : file_(std::move(file)), zeros_(std::move(zeros)) {}

  const std::string& path() const override { return file_->path(); }
  std::vector<TensorInfo> List() const override { return file_->List(); }
  const std::map<std::string, std::string>& metadata() const override { return file_->metadata(); }

  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    OVI_ASSIGN_OR_RETURN(HostTensor tensor, file_->Find(name));
    tensor.data = zeros_->data();
    tensor.dtype = DType::kBF16;
    return tensor;
  }

 private:
  std::unique_ptr<WeightSource> file_;
  std::unique_ptr<Zeros> zeros_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenHollowWeights(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> file, OpenWeights(path));
  std::int64_t bytes_max = 0;
  for (const TensorInfo& tensor : file->List()) {
    bytes_max = std::max(bytes_max, tensor.shape.elements() * ElementBytes(DType::kBF16));
  }
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<Zeros> zeros, Zeros::Map(bytes_max));
  return std::make_unique<HollowWeights>(std::move(file), std::move(zeros));
}

}  // namespace ovi
