// One pass through the queue: what can start now does; what could if idle groups ended makes them end; and
// for the first that must wait for running ones, GPUs are held back once it has waited for too long. Small
// jobs go past one that waits.
#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "coordinator/core/course.h"
#include "coordinator/core/inventory.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

// What decides where a job can go. Two jobs of one shape fail alike, so a pass tries a shape that failed only
// once.
using Shape = std::tuple<std::string, bool, bool, Allocation, int, std::int64_t, std::vector<VramMode>,
                         std::set<std::string>>;

Shape ShapeOf(const JobRequest& request, const Course& course) {
  return {request.model_name, request.reference,      request.low_rank, request.allocation,
          request.gpu_count,  request.vram_bytes_max, course.modes,     course.avoid};
}

enum class Tried { kStarted, kWaits, kFailed };

class Pass {
 public:
  explicit Pass(Step& step) : step_(step) { LookAgain(); }

  void Go();

 private:
  Tried Try(Job& job, const Course& course);
  bool Start(Job& job, const Placement& placement);
  void Evict(const Placement& placement);
  void Hold(const Placement& placement);
  bool WaitedTooLong(const Job& job) const;
  void LookAgain() {
    inventory_.emplace(step_.state(), step_.at());
    has_room_ = inventory_->HasRoom(held_);
  }

  Step& step_;
  std::optional<Inventory> inventory_;
  HeldGpus held_;
  bool has_room_ = true;
  bool head_waits_ = false;  // the first job that must wait for running ones has been met
  std::set<Shape> failed_;
};

void Pass::Go() {
  State& state = step_.state();
  int looked_at = 0;
  for (auto next = state.queue.begin();
       next != state.queue.end() && has_room_ && looked_at < step_.policy().queue_depth_max; ++looked_at) {
    Job& job = state.jobs.at(next->job);
    ++next;  // a start takes the job out of the queue
    const Course course = CourseOf(*inventory_, job);
    const Shape shape = ShapeOf(job.request, course);
    if (failed_.contains(shape)) continue;
    if (Try(job, course) == Tried::kFailed) failed_.insert(shape);
  }
}

Tried Pass::Try(Job& job, const Course& course) {
  const std::optional<VramMode> mode = inventory_->ModeFor(job.request, course.modes, course.avoid);
  if (!mode) return Tried::kFailed;
  Inventory::Search search{.mode = *mode,
                           .sizes = WorldSizes(job.request, inventory_->gpu_count_max()),
                           .avoid = course.avoid,
                           .held = &held_};
  const std::optional<Placement> now = inventory_->Find(job.request, search);
  search.give_way = GiveWay::kStopping;
  const std::optional<Placement> soon = inventory_->Find(job.request, search);
  // `auto` waits the seconds that a group takes to end when that gives it more GPUs.
  if (soon && (!now || soon->gpu_indices.size() > now->gpu_indices.size())) {
    Hold(*soon);
    return Tried::kWaits;
  }
  if (now) return Start(job, *now) ? Tried::kStarted : Tried::kWaits;
  search.give_way = GiveWay::kStoppingAndIdle;
  if (const auto after_idle = inventory_->Find(job.request, search)) {
    Evict(*after_idle);
    Hold(*after_idle);
    return Tried::kWaits;
  }
  if (head_waits_) return Tried::kFailed;
  search.give_way = GiveWay::kEverybody;
  const auto some_day = inventory_->Find(job.request, search);
  if (!some_day) return Tried::kFailed;
  head_waits_ = true;
  if (!WaitedTooLong(job)) return Tried::kFailed;
  Hold(*some_day);
  return Tried::kWaits;
}

bool Pass::Start(Job& job, const Placement& placement) {
  State& state = step_.state();
  const AttemptRef ref{.job = job.id, .attempt = static_cast<int>(job.attempts.size()) + 1};
  const bool warm = !placement.warm_group.empty();
  const GroupId id = warm ? placement.warm_group : absl::StrCat("g", ref.job, "-", ref.attempt);
  if (!warm && state.groups.contains(id)) return false;  // of a journal that is gone; it will be stopped
  step_.Record(AttemptStarted{.attempt = ref,
                              .at = step_.at(),
                              .group = id,
                              .node = placement.node,
                              .gpu_indices = placement.gpu_indices,
                              .bytes_per_rank = placement.bytes_per_rank,
                              .warm = warm,
                              .vram_mode = placement.vram_mode});
  if (warm) {
    Group& group = state.groups.at(id);
    group.state = GroupState::kBusy;
    group.attempt = ref;
    group.changed_at = step_.at();
    step_.Order(RunOf(job));
  } else {
    state.groups[id] = {.id = id,
                        .node = placement.node,
                        .gpu_indices = placement.gpu_indices,
                        .bytes_per_rank = placement.bytes_per_rank,
                        .model_name = job.request.model_name,
                        .state = GroupState::kStarting,
                        .attempt = ref,
                        .changed_at = step_.at()};
    step_.Order(StartGroup{.group = id,
                           .node = placement.node,
                           .gpu_indices = placement.gpu_indices,
                           .bytes_per_rank = placement.bytes_per_rank,
                           .model_name = job.request.model_name});
  }
  LookAgain();
  return true;
}

void Pass::Evict(const Placement& placement) {
  for (const GroupId& id : placement.evicted) Stop(step_, step_.state().groups.at(id));
  LookAgain();
}

void Pass::Hold(const Placement& placement) {
  for (const int index : placement.gpu_indices) held_.insert({placement.node, index});
  has_room_ = inventory_->HasRoom(held_);
}

bool Pass::WaitedTooLong(const Job& job) const {
  const TimeMs since = job.attempts.empty() ? job.submitted_at : job.attempts.back().ended_at;
  return step_.at() - since >= step_.policy().head_wait_ms_max;
}

}  // namespace

void Schedule(Step& step) {
  if (!step.state().queue.empty()) Pass(step).Go();
}

}  // namespace ovi::core
