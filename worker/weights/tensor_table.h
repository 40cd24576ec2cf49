// The WeightSource both file readers fill, and the checks on names and sizes they share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// A weight file's bytes on their way into a reader. `owner` keeps them alive; null where the caller does.
struct WeightBytes {
  std::string path;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

// `text` from a file, made fit for a one-line message: control and non-UTF-8 bytes escaped, cut to 120
// characters.
std::string Printable(std::string_view text);

// The shape with these extents. INVALID_ARGUMENT (without file or tensor name) for more than 8 axes, a
// negative extent, or an element count whose bytes overflow 63 bits, counted with every 0 as 1 so that no
// partial product overflows.
absl::StatusOr<Shape> CheckedShape(const std::vector<std::int64_t>& extents, std::int64_t element_bytes);

class TensorTable final : public WeightSource {
 public:
  explicit TensorTable(WeightBytes file) : file_(std::move(file)) {}

  const std::string& path() const override { return file_.path; }
  std::vector<TensorInfo> List() const override;
  absl::StatusOr<HostTensor> Find(std::string_view name) const override;
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

  bool empty() const { return tensors_.empty(); }
  void set_metadata(std::map<std::string, std::string> metadata) { metadata_ = std::move(metadata); }

  // INVALID_ARGUMENT (naming the tensor, not the file) when the name is empty, not UTF-8, or there already.
  absl::Status Add(std::string_view name, const HostTensor& tensor);

  // Of a tensor that is there. `scale` (HostTensor::row_scale) must live as long as the table.
  void SetRowScale(std::string_view name, const void* scale);
  // Takes a tensor out of List and Find; its bytes stay where they are.
  void Remove(std::string_view name);

  // `bytes` (> 0) of memory for a tensor that cannot be a view of the file. All of it together may not exceed
  // the file's own size, which is what stops a small hostile file from asking for a large allocation:
  // RESOURCE_EXHAUSTED.
  absl::StatusOr<std::span<std::byte>> Own(std::int64_t bytes);

 private:
  WeightBytes file_;
  std::map<std::string, HostTensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::unique_ptr<std::byte[]>> owned_;
  std::int64_t owned_bytes_ = 0;
};

}  // namespace ovi
