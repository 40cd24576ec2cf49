#include "kernels/arena.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace ovi {
namespace {

// Bytes of the tensor rounded up to the alignment, or -1 when the product leaves 63 bits.
std::int64_t AlignedBytes(DType dtype, const Shape& shape) {
  std::int64_t bytes = ElementBytes(dtype);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] < 0 || __builtin_mul_overflow(bytes, shape[axis], &bytes)) return -1;
  }
  if (bytes > std::numeric_limits<std::int64_t>::max() - Arena::kAlignment) return -1;
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

class BorrowedBlock final : public DeviceBlock {
 public:
  explicit BorrowedBlock(const Tensor& room) : room_(room) {}
  std::byte* base() const override { return room_.data; }
  std::int64_t bytes() const override { return room_.bytes(); }
  void Discard(std::int64_t, std::int64_t) override {}  // the pages are its owner's to give back

 private:
  Tensor room_;
};

}  // namespace

std::unique_ptr<DeviceBlock> BlockIn(const Tensor& room) {
  OVI_CHECK(room.dtype == DType::kU8);
  return std::make_unique<BorrowedBlock>(room);
}

Arena::Arena(std::unique_ptr<DeviceBlock> block) : block_(std::move(block)) {}

absl::StatusOr<Tensor> Arena::Allocate(DType dtype, const Shape& shape, std::string_view what) {
  const std::int64_t bytes = AlignedBytes(dtype, shape);
  if (bytes < 0 || bytes > bytes_free()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("arena: no room for ", absl::string_view(what.data(), what.size()), " (",
                     shape.ToString(), "): bytes_needed=", bytes < 0 ? "overflow" : absl::StrCat(bytes),
                     " bytes_free=", bytes_free(), " bytes_max=", bytes_max()));
  }
  Tensor tensor{block_->base() + offset_, dtype, shape};
  if (bytes > 0 && (runs_.empty() || runs_.back().use != use_)) runs_.push_back({offset_, use_});
  in_use_[static_cast<std::size_t>(use_)] += bytes;
  offset_ += bytes;
  if (offset_ > bytes_peak_) {
    bytes_peak_ = offset_;
    peak_by_use_ = in_use_;
  }
  bytes_touched_ = std::max(bytes_touched_, offset_);
  return tensor;
}

void Arena::ReleaseTo(std::int64_t mark) {
  OVI_CHECK(mark >= 0 && mark <= offset_);
  for (std::int64_t end = offset_; end > mark;) {
    const Run& last = runs_.back();
    const std::int64_t begin = std::max(last.begin, mark);
    in_use_[static_cast<std::size_t>(last.use)] -= end - begin;
    end = begin;
    if (last.begin >= mark) runs_.pop_back();
  }
  offset_ = mark;
}

void Arena::Trim() {
  block_->Discard(offset_, bytes_touched_ - offset_);
  bytes_touched_ = offset_;
}

}  // namespace ovi
