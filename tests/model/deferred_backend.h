// A backend that does nothing until it is waited for, as a busy GPU may: what a model lets go of too early is
// gone by the time it is needed. Sanitizers then report it, and results differ from those of a backend that
// runs at once.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "kernels/backend.h"

namespace ovi {

class DeferredStream final : public Stream {
 public:
  explicit DeferredStream(std::unique_ptr<Stream> inner) : inner_(std::move(inner)) {}

  void Run(const Op& op) override {
    std::visit([this](const auto& concrete) { Enqueue(concrete); }, op);
  }
  void Upload(const Tensor& dst, const HostTensor& src) override { UploadLater(dst, src); }
  void Upload(const GemmWeight& dst, const HostTensor& src) override { UploadLater(dst, src); }
  void Upload(const GemmWeight& dst, const FourBitRows& src) override { UploadLater(dst, src); }
  void Upload(const ConvWeight& dst, const HostTensor& src) override { UploadLater(dst, src); }
  void Upload(const ConvTransposeWeight& dst, const HostTensor& src) override { UploadLater(dst, src); }
  void Download(void* dst, const Tensor& src) override {
    Later([=, this] { inner_->Download(dst, src); });
  }
  void Copy(const Tensor& dst, const Tensor& src) override {
    Later([=, this] { inner_->Copy(dst, src); });
  }
  void Record(Event& event) override {
    Later([&event, this] { inner_->Record(event); });
  }
  void Wait(const Event& event) override {
    Later([&event, this] { inner_->Wait(event); });
  }
  absl::Status Sync() override {
    for (const auto& work : std::exchange(pending_, {})) work();
    return inner_->Sync();
  }

 private:
  void Later(std::function<void()> work) { pending_.push_back(std::move(work)); }

  template <typename OpType>
  void Enqueue(const OpType& op) {
    if constexpr (requires { op.weight->storage; }) {
      // An op's view of its weight is read when it is enqueued; only device memory must outlive that.
      if (op.weight != nullptr) {
        Later([weight = *op.weight, late = OpType(op), this]() mutable {
          late.weight = &weight;
          inner_->Run(late);
        });
        return;
      }
    }
    Later([op, this] { inner_->Run(op); });
  }
  template <typename Destination, typename Source>
  void UploadLater(const Destination& dst, const Source& src) {
    Later([=, this] { inner_->Upload(dst, src); });
  }

  std::unique_ptr<Stream> inner_;
  std::vector<std::function<void()>> pending_;
};

class DeferredBackend final : public Backend {
 public:
  explicit DeferredBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return "deferred"; }
  std::string WeightLayout() const override { return inner_->WeightLayout(); }
  absl::StatusOr<std::unique_ptr<DeviceBlock>> AllocateBlock(std::int64_t bytes) override {
    OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, inner_->AllocateBlock(bytes));
    return std::make_unique<Block>(std::move(block));
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override {
    OVI_ASSIGN_OR_RETURN(std::unique_ptr<Stream> stream, inner_->NewStream());
    return std::make_unique<DeferredStream>(std::move(stream));
  }
  std::unique_ptr<Event> NewEvent() override { return inner_->NewEvent(); }
  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                                std::string_view what) override {
    return inner_->AllocateGemmWeight(arena, dtype, n, k, what);
  }
  absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                                std::int64_t k, std::string_view what) override {
    return inner_->AllocateGemmWeight(arena, format, n, k, what);
  }
  absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t co, std::int64_t ci,
                                                const Extent3& kernel, std::string_view what) override {
    return inner_->AllocateConvWeight(arena, dtype, co, ci, kernel, what);
  }
  absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype, std::int64_t ci,
                                                                  std::int64_t co, std::int64_t kernel,
                                                                  std::string_view what) override {
    return inner_->AllocateConvTransposeWeight(arena, dtype, ci, co, kernel, what);
  }

 private:
  // Discards nothing: memory that an arena gave back may still be in use by what is pending.
  class Block final : public DeviceBlock {
   public:
    explicit Block(std::unique_ptr<DeviceBlock> inner) : inner_(std::move(inner)) {}
    std::byte* base() const override { return inner_->base(); }
    std::int64_t bytes() const override { return inner_->bytes(); }
    void Discard(std::int64_t, std::int64_t) override {}

   private:
    std::unique_ptr<DeviceBlock> inner_;
  };

  std::unique_ptr<Backend> inner_;
};

}  // namespace ovi
