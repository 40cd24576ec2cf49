#include "worker/model/streamed_weights.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "worker/model/unit_buffer.h"

namespace ovi {
namespace {

// Block indices in the order in which they become resident: whatever their number, they are spread evenly
// (the bits of a counter, mirrored).
std::vector<std::int64_t> SpreadOrder(std::int64_t blocks) {
  std::int64_t size = 1;
  while (size < blocks) size *= 2;
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < size; ++i) {
    std::int64_t mirrored = 0;
    for (std::int64_t bit = 1; bit < size; bit *= 2) mirrored = mirrored * 2 + ((i & bit) != 0 ? 1 : 0);
    if (mirrored < blocks) order.push_back(mirrored);
  }
  return order;
}

std::vector<FusionUnit> ResidencyOrder(const FusionConfig& config) {
  std::vector<FusionUnit> order = {{FusionPiece::kAudioPatchW1},
                                   {FusionPiece::kAudioPatchW3},
                                   {FusionPiece::kAudioPatchW2},
                                   {FusionPiece::kEntry},
                                   {FusionPiece::kHead}};
  for (const std::int64_t block : SpreadOrder(config.video.layers)) {
    order.push_back({FusionPiece::kBlockPair, block});
  }
  order.push_back({FusionPiece::kText});  // once a clip
  return order;
}

// Copies one unit at a time to the device, on a thread and a stream of its own.
class Copier {
 public:
  explicit Copier(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {
    thread_ = std::thread([this] { Loop(); });
  }
  ~Copier() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // After the last one has been waited for. `free`: recorded by whoever used `to` before.
  void Start(const Tensor& to, std::span<const std::byte> from, const Event& free) {
    {
      const std::lock_guard lock(mutex_);
      OVI_CHECK(!job_);
      job_ = Job{to, from, &free};
    }
    changed_.notify_all();
  }

  // Until the copy has arrived. OK when there is none.
  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !job_; });
    return status_;
  }

 private:
  struct Job {
    Tensor to;
    std::span<const std::byte> from;
    const Event* free;
  };

  void Loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || job_; });
      if (!job_) return;
      const Job job = *job_;
      lock.unlock();
      stream_->Wait(*job.free);
      stream_->Upload(job.to, HostTensor{job.from.data(), DType::kU8, job.to.shape});
      const absl::Status status = stream_->Sync();
      lock.lock();
      status_.Update(status);
      job_.reset();
      changed_.notify_all();
    }
  }

  std::unique_ptr<Stream> stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> job_;
  absl::Status status_;
  bool stopping_ = false;
  std::thread thread_;
};

class StreamedWeights final : public FusionWeights {
 public:
  StreamedWeights(const Runtime& runtime, const FusionConfig& config, std::unique_ptr<UnitShelf> shelf)
      : runtime_(runtime), config_(config), pass_(FusionPassUnits(config)), shelf_(std::move(shelf)) {}

  absl::Status Load(const WeightSource& source, NumberFormat format, std::int64_t device_bytes_max,
                    const std::function<absl::Status()>& check) {
    OVI_RETURN_IF_ERROR(CheckFusionSource(config_, source));
    OVI_ASSIGN_OR_RETURN(bytes_, MeasureUnits(runtime_, config_, source, format));
    const StreamingPlan plan = PlanStreaming(config_, bytes_, device_bytes_max);
    if (!plan.streamed.empty()) {
      for (Slot& slot : slots_) {
        slot.free = runtime_.backend.NewEvent();
        OVI_ASSIGN_OR_RETURN(slot.buffer,
                             UnitBuffer::Make(runtime_, config_, source, format, bytes_, plan.buffer_bytes));
      }
      OVI_RETURN_IF_ERROR(Stock(source, format, plan, check));
      OVI_ASSIGN_OR_RETURN(std::unique_ptr<Stream> stream, runtime_.backend.NewStream());
      copier_ = std::make_unique<Copier>(std::move(stream));
    }
    ParamLoader loader(runtime_, source, format);
    for (const FusionUnit unit : plan.resident) {
      OVI_RETURN_IF_ERROR(check());
      resident_.push_back({unit, {}});
      OVI_RETURN_IF_ERROR(LoadFusionUnit(loader, config_, unit, resident_.back().params));
    }
    return runtime_.stream.Sync();
  }

  absl::StatusOr<const FusionParams*> Use(FusionUnit unit, std::optional<FusionUnit> next) override {
    if (const Resident* found = FindResident(unit)) {
      // Also at the first use: what is streamed first is on its way by then.
      OVI_RETURN_IF_ERROR(Announce(next));
      return &found->params;
    }
    std::size_t at = 1 - active_;
    if (slots_[active_].unit == unit) {
      at = active_;
    } else if (slots_[at].unit != unit) {
      OVI_RETURN_IF_ERROR(Bring(unit, at));
    }
    OVI_RETURN_IF_ERROR(copier_->Wait());
    active_ = at;
    OVI_RETURN_IF_ERROR(Announce(next));
    return &slots_[at].buffer.params(unit.piece);
  }

 private:
  struct Slot {
    UnitBuffer buffer;
    std::optional<FusionUnit> unit;  // what is in it, or on its way
    std::unique_ptr<Event> free;     // when what used it has run
  };
  struct Resident {
    FusionUnit unit;
    FusionParams params;
  };

  const Resident* FindResident(FusionUnit unit) const {
    const auto found = std::find_if(resident_.begin(), resident_.end(),
                                    [unit](const Resident& resident) { return resident.unit == unit; });
    return found == resident_.end() ? nullptr : &*found;
  }

  absl::Status Stock(const WeightSource& source, NumberFormat format, const StreamingPlan& plan,
                     const std::function<absl::Status()>& check) {
    std::vector<UnitShelf::Item> items;
    for (const FusionUnit unit : plan.streamed) items.push_back({unit, bytes_.at(unit.piece)});
    const Tensor& room = slots_[0].buffer.room();
    return shelf_->Stock(items, [&](FusionUnit unit, std::span<std::byte> to) -> absl::Status {
      OVI_RETURN_IF_ERROR(check());
      FusionParams params;
      const auto bytes = static_cast<std::int64_t>(to.size());
      OVI_RETURN_IF_ERROR(
          LayOutUnit(runtime_, config_, source, format, unit, room, UnitRange{0, bytes}, params));
      runtime_.stream.Download(to.data(), room.Slice(0, bytes));
      return runtime_.stream.Sync();
    });
  }

  // The next streamed unit at or after `next` in a pass, after whose end the next pass begins.
  std::optional<FusionUnit> NextStreamed(std::optional<FusionUnit> next) const {
    const auto begin = next ? std::find(pass_.begin(), pass_.end(), *next) : pass_.begin();
    const auto at = static_cast<std::size_t>(begin - pass_.begin());
    for (std::size_t i = 0; i < pass_.size(); ++i) {
      const FusionUnit unit = pass_[(at + i) % pass_.size()];
      if (FindResident(unit) == nullptr) return unit;
    }
    return std::nullopt;
  }

  // Brings in what is used next, unless it is there, into the slot that is not in use.
  absl::Status Announce(std::optional<FusionUnit> next) {
    const std::optional<FusionUnit> unit = NextStreamed(next);
    if (!unit || slots_[0].unit == unit || slots_[1].unit == unit) return absl::OkStatus();
    return Bring(*unit, 1 - active_);
  }

  absl::Status Bring(FusionUnit unit, std::size_t at) {
    OVI_RETURN_IF_ERROR(copier_->Wait());
    Slot& slot = slots_[at];
    slot.unit = unit;
    runtime_.stream.Record(*slot.free);
    copier_->Start(slot.buffer.room().Slice(0, bytes_.at(unit.piece)), shelf_->Bytes(unit), *slot.free);
    return absl::OkStatus();
  }

  Runtime runtime_;
  FusionConfig config_;
  const std::vector<FusionUnit> pass_;
  std::map<FusionPiece, std::int64_t> bytes_;  // of a unit
  std::unique_ptr<UnitShelf> shelf_;
  std::vector<Resident> resident_;
  std::array<Slot, 2> slots_;
  std::size_t active_ = 0;          // the slot of the last streamed Use
  std::unique_ptr<Copier> copier_;  // last: its thread reads the others; null where nothing is streamed
};

}  // namespace

StreamingPlan PlanStreaming(const FusionConfig& config, const std::map<FusionPiece, std::int64_t>& unit_bytes,
                            std::int64_t device_bytes_max) {
  const std::vector<FusionUnit> order = ResidencyOrder(config);
  const auto bytes_of = [&](FusionUnit unit) { return unit_bytes.at(unit.piece); };
  const auto largest = [&](const std::vector<FusionUnit>& units) {
    std::int64_t bytes = 0;
    for (const FusionUnit unit : units) bytes = std::max(bytes, bytes_of(unit));
    return bytes;
  };
  // One after the other moves over, as long as all of it fits; the buffers shrink with what is left. Where
  // the buffers would only shrink by several, the best that was met counts.
  std::int64_t resident_bytes = 0;
  std::size_t kept = 0;
  for (std::size_t count = 1; count <= order.size(); ++count) {
    resident_bytes += bytes_of(order[count - 1]);
    const std::vector<FusionUnit> left(order.begin() + static_cast<std::ptrdiff_t>(count), order.end());
    if (resident_bytes + 2 * largest(left) <= device_bytes_max) kept = count;
  }
  StreamingPlan plan;
  const auto end_of_kept = order.begin() + static_cast<std::ptrdiff_t>(kept);
  for (const FusionUnit unit : FusionUnits(config)) {
    const bool stays = std::find(order.begin(), end_of_kept, unit) != end_of_kept;
    (stays ? plan.resident : plan.streamed).push_back(unit);
    (stays ? plan.device_bytes : plan.host_bytes) += bytes_of(unit);
  }
  plan.buffer_bytes = largest(plan.streamed);
  plan.device_bytes += 2 * plan.buffer_bytes;
  return plan;
}

absl::StatusOr<std::unique_ptr<FusionWeights>> LoadStreamedWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    std::int64_t device_bytes_max, std::unique_ptr<UnitShelf> shelf,
    const std::function<absl::Status()>& check) {
  auto weights = std::make_unique<StreamedWeights>(runtime, config, std::move(shelf));
  OVI_RETURN_IF_ERROR(weights->Load(source, format, device_bytes_max, check));
  return weights;
}

}  // namespace ovi
