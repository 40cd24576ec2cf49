#include "kernels/cpu/scratch.h"

#include <sys/mman.h>

namespace ovi::cpu {

std::byte* Scratch::Reserve(std::int64_t bytes) {
  if (bytes <= bytes_) return data_.get();
  // Huge pages where the system has them: a tile kernel walks many rows at once and would miss its TLB.
  constexpr std::int64_t kHugePage = 2 << 20;
  const std::int64_t alignment = bytes < kHugePage / 4 ? 64 : kHugePage;
  const std::int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_.reset();
  bytes_ = 0;
  data_.reset(static_cast<std::byte*>(
      std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(rounded))));
  if (data_ == nullptr) return nullptr;
  if (alignment == kHugePage) madvise(data_.get(), static_cast<std::size_t>(rounded), MADV_HUGEPAGE);
  bytes_ = rounded;
  return data_.get();
}

}  // namespace ovi::cpu
