#include "worker/plan/shape_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/model/audio_vae.h"
#include "worker/model/fusion_params.h"
#include "worker/model/text_encoder.h"
#include "worker/model/video_vae_layout.h"
#include "worker/model/vocoder.h"

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

class ShapeWeights final : public WeightSource {
 public:
  static absl::StatusOr<std::unique_ptr<WeightSource>> Make(const std::string& path,
                                                            const std::vector<TensorSpec>& specs) {
    auto weights = std::make_unique<ShapeWeights>();
    weights->path_ = path;
    std::int64_t bytes_max = 0;
    for (const TensorSpec& spec : specs) {
      weights->shapes_[spec.name] = spec.shape;
      bytes_max = std::max(bytes_max, spec.shape.elements() * ElementBytes(DType::kBF16));
    }
    OVI_ASSIGN_OR_RETURN(weights->zeros_, Zeros::Map(bytes_max));
    return weights;
  }

  const std::string& path() const override { return path_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  std::vector<TensorInfo> List() const override {
    std::vector<TensorInfo> list;
    for (const auto& [name, shape] : shapes_) {
      list.push_back({name, DType::kBF16, shape, shape.elements() * ElementBytes(DType::kBF16)});
    }
    return list;
  }
  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    const auto found = shapes_.find(name);
    if (found == shapes_.end()) {
      return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", std::string(name)));
    }
    return HostTensor{zeros_->data(), DType::kBF16, found->second};
  }

 private:
  std::string path_;
  std::map<std::string, Shape, std::less<>> shapes_;
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<Zeros> zeros_;
};

class EmptyShelf final : public UnitShelf {
 public:
  explicit EmptyShelf(std::int64_t* host_bytes) : host_bytes_(host_bytes) {}

  absl::Status Stock(std::span<const Item> items, const Fill&) override {
    std::int64_t bytes_max = 0;
    for (const Item& item : items) {
      sizes_.emplace_back(item.unit, item.bytes);
      bytes_max = std::max(bytes_max, item.bytes);
      if (host_bytes_ != nullptr) *host_bytes_ += item.bytes;
    }
    OVI_ASSIGN_OR_RETURN(zeros_, Zeros::Map(bytes_max));
    return absl::OkStatus();
  }
  std::span<const std::byte> Bytes(FusionUnit unit) const override {
    const auto found =
        std::find_if(sizes_.begin(), sizes_.end(), [unit](const auto& entry) { return entry.first == unit; });
    const std::int64_t bytes = found == sizes_.end() ? 0 : found->second;
    return {static_cast<const std::byte*>(zeros_->data()), static_cast<std::size_t>(bytes)};
  }

 private:
  std::int64_t* host_bytes_;
  std::vector<std::pair<FusionUnit, std::int64_t>> sizes_;
  std::unique_ptr<Zeros> zeros_;
};

// The tensors of one of the model's files.
absl::StatusOr<std::vector<TensorSpec>> SpecsOf(const ModelFolder& model, const std::string& path) {
  if (path == model.fusion_weights) return FusionTensors(model.fusion);
  if (path == model.text_weights) return TextTensors(model.text);
  if (path == model.video_vae_weights) return VideoVaeTensors(model.video_vae);
  if (path == model.audio_vae_weights) return AudioVaeTensors(model.audio_vae);
  if (path == model.vocoder_weights) return VocoderTensors(model.vocoder, WeightNormNames::kGV);
  return absl::InternalError(absl::StrCat(path, ": no file of ", model.spec.name));
}

}  // namespace

EngineFiles ShapesOf(const ModelFolder& model, std::int64_t* host_bytes) {
  return {.open_weights = [model](const std::string& path) -> absl::StatusOr<std::unique_ptr<WeightSource>> {
            OVI_ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs, SpecsOf(model, path));
            return ShapeWeights::Make(path, specs);
          },
          .open_shelf = [host_bytes](const std::string&) -> std::unique_ptr<UnitShelf> {
            return std::make_unique<EmptyShelf>(host_bytes);
          }};
}

}  // namespace ovi
