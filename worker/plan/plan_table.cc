#include "worker/plan/plan_table.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/format.h"
#include "base/status.h"
#include "worker/model/streamed_weights.h"

namespace ovi {
namespace {

constexpr int kGroupSizes[] = {2, 4, 8};
// As tables list them: by the memory they take.
constexpr VramMode kModesByMemory[] = {VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload,
                                       VramMode::kUltraLow};
constexpr GpuRequest kSingle{GpuAllocation::kSingle, 1};

// The smaller group, then the unsharded one.
bool Before(const GpuRequest& a, const GpuRequest& b) {
  return std::pair(a.gpu_count, a.allocation) < std::pair(b.gpu_count, b.allocation);
}

// Which rows a table has and which of them is recommended follows from this alone.
struct Choice {
  VramMode vram_mode = VramMode::kStandard;
  GpuRequest gpus;

  bool operator==(const Choice&) const = default;
};

// What the job may take of a card.
std::int64_t BytesMax(const PlanTableRequest& request) {
  const std::int64_t card = std::max<std::int64_t>(request.gpu_bytes - kGpuDriverBytes, 1);
  return request.bytes_max > 0 ? std::min(card, request.bytes_max) : card;
}

// Plans rows as they are asked for, each once.
class Planner {
 public:
  explicit Planner(const PlanTableRequest& request) : request_(request), bytes_max_(BytesMax(request)) {}

  absl::StatusOr<const PlanRow*> Row(const Choice& choice) {
    if (const auto found = rows_.find(choice); found != rows_.end()) return &found->second;
    OVI_ASSIGN_OR_RETURN(PlanRow row, Plan(choice));
    const PlanRow* planned = &rows_.emplace(choice, std::move(row)).first->second;
    if (request_.on_progress) OVI_RETURN_IF_ERROR(request_.on_progress(static_cast<int>(rows_.size())));
    return planned;
  }

  std::int64_t bytes_max() const { return bytes_max_; }

 private:
  struct Order {
    bool operator()(const Choice& a, const Choice& b) const {
      return a.gpus == b.gpus ? a.vram_mode < b.vram_mode : Before(a.gpus, b.gpus);
    }
  };

  absl::StatusOr<PlanRow> Plan(const Choice& choice) {
    PlanRow row{.vram_mode = choice.vram_mode, .gpus = choice.gpus};
    OVI_ASSIGN_OR_RETURN(row.topology,
                         ChooseTopology({.world_size = choice.gpus.gpu_count,
                                         .gpus = choice.gpus,
                                         .heads = static_cast<int>(request_.model.fusion.video.heads),
                                         .two_passes = request_.clip.needs_negative_pass()}));
    ClipRequest clip = request_.clip;
    clip.vram_mode = choice.vram_mode;
    clip.steps = 1;  // memory does not depend on how many there are, planning them takes time
    OVI_ASSIGN_OR_RETURN(SettledClip settled,
                         SettleMode(request_.model, clip, {.topology = row.topology}, bytes_max_));
    row.clip = std::move(settled.clip);
    row.clip.steps = request_.clip.steps;
    row.plan = std::move(settled.plan);
    row.fits = row.plan.bytes_peak <= bytes_max_;
    OVI_ASSIGN_OR_RETURN(const UnitBytes* unit_bytes, UnitBytesFor(row.clip.fusion_format()));
    row.bytes_needed = NeededBytes(row, *unit_bytes);
    // In f32 nothing runs on tensor cores, of which the rates are.
    if (row.fits && request_.gpu != nullptr && row.clip.policy == PrecisionPolicy::kAsExecuted) {
      row.time = EstimateTime({request_.model, row.clip, row.topology, *request_.gpu, *unit_bytes});
    }
    return row;
  }

  using UnitBytes = std::map<FusionPiece, std::int64_t>;

  absl::StatusOr<const UnitBytes*> UnitBytesFor(const NumberFormat& format) {
    const auto found = unit_bytes_.find(ToString(format.block_matrices));
    if (found != unit_bytes_.end()) return &found->second;
    OVI_ASSIGN_OR_RETURN(UnitBytes bytes, UnitBytesOf(request_.model, format));
    return &unit_bytes_.emplace(ToString(format.block_matrices), std::move(bytes)).first->second;
  }

  // Without the weights that stay on the device because there is room.
  std::int64_t NeededBytes(const PlanRow& row, const UnitBytes& unit_bytes) const {
    if (!row.clip.memory.streamed || row.topology.fsdp) return row.plan.bytes_peak;
    const FusionConfig& config = request_.model.fusion;
    const std::int64_t kept =
        PlanStreaming(config, unit_bytes, row.clip.memory.weight_bytes_max).device_bytes -
        PlanStreaming(config, unit_bytes, 0).device_bytes;
    return std::max({PlannedBytes(row.plan, Stage::kEncode), PlannedBytes(row.plan, Stage::kDenoise) - kept,
                     PlannedBytes(row.plan, Stage::kDecode)});
  }

  const PlanTableRequest& request_;
  const std::int64_t bytes_max_;
  std::map<Choice, PlanRow, Order> rows_;
  std::map<std::string, UnitBytes> unit_bytes_;
};

// Every group that can share the clip, the smallest first and unsharded before sharded.
std::vector<GpuRequest> AllGroups(const PlanTableRequest& request) {
  std::vector<GpuRequest> groups = {kSingle};
  const std::vector<int> legal =
      LegalWorldSizes(static_cast<int>(request.model.fusion.video.heads), request.clip.needs_negative_pass());
  for (const int size : kGroupSizes) {
    if (std::find(legal.begin(), legal.end(), size) != legal.end()) {
      groups.push_back({GpuAllocation::kMulti, size});
    }
    groups.push_back({GpuAllocation::kFsdp, size});
  }
  return groups;
}

// Those that the job's words mean, the first choice first.
std::vector<GpuRequest> OwnGroups(const PlanTableRequest& request, const std::vector<GpuRequest>& all) {
  if (request.gpus.allocation == GpuAllocation::kAuto) return {kSingle};
  if (request.gpus.gpu_count > 0) return {request.gpus};
  std::vector<GpuRequest> own;
  for (const GpuRequest& group : all) {
    if (group.allocation == request.gpus.allocation) own.push_back(group);
  }
  return own;
}

// Of the modes, those that mean anything for these GPUs. Sharded weights come from the other ranks in every
// mode, so fp8_offload is fp8 there.
bool Differs(const PlanTableRequest& request, const Choice& choice) {
  if (request.clip.policy == PrecisionPolicy::kReference) return choice.vram_mode == VramMode::kStandard;
  return choice.vram_mode != VramMode::kFp8Offload || choice.gpus.allocation != GpuAllocation::kFsdp ||
         request.clip.vram_mode == VramMode::kFp8Offload;
}

// The first of the groups in which a mode fits, with the best such mode.
absl::StatusOr<std::optional<Choice>> BestOf(const PlanTableRequest& request,
                                             const std::vector<GpuRequest>& groups, Planner& planner) {
  for (const GpuRequest& group : groups) {
    for (const VramMode mode : kModesByQuality) {
      const Choice choice{mode, group};
      if (!Differs(request, choice)) continue;
      OVI_ASSIGN_OR_RETURN(const PlanRow* row, planner.Row(choice));
      if (row->fits) return choice;
    }
  }
  return std::nullopt;
}

// Of all that has been planned for the group.
absl::StatusOr<Choice> LeastOf(const PlanTableRequest& request, const GpuRequest& group, Planner& planner) {
  std::optional<Choice> least;
  std::int64_t bytes_least = 0;
  for (const VramMode mode : kModesByQuality) {
    const Choice choice{mode, group};
    if (!Differs(request, choice)) continue;
    OVI_ASSIGN_OR_RETURN(const PlanRow* row, planner.Row(choice));
    if (least && row->bytes_needed >= bytes_least) continue;
    least = choice;
    bytes_least = row->bytes_needed;
  }
  return *least;  // standard at least is always planned
}

std::string WordsOf(const Choice& choice) {
  return absl::StrCat(ToString(choice.vram_mode), " on ", ToString(choice.gpus));
}

// "11.4 GiB of 23.4 GiB".
std::string OfMax(std::int64_t bytes, std::int64_t bytes_max) {
  return absl::StrCat(FormatBytes(bytes), " of ", FormatBytes(bytes_max));
}

// `least`: of the job's own group. `compressed`: the job's weights are low-rank whatever the mode.
absl::StatusOr<std::string> ReasonFor(const std::optional<Choice>& best, const GpuRequest& own_group,
                                      const Choice& least, bool compressed, Planner& planner) {
  OVI_ASSIGN_OR_RETURN(const PlanRow* least_row, planner.Row(least));
  const std::string least_bytes = OfMax(least_row->bytes_needed, planner.bytes_max());
  if (!best) return absl::StrCat("nothing fits; the least is ", WordsOf(least), ", ", least_bytes);
  OVI_ASSIGN_OR_RETURN(const PlanRow* row, planner.Row(*best));
  const std::string bytes = OfMax(row->bytes_needed, planner.bytes_max());
  if (best->gpus != own_group) {
    return absl::StrCat(WordsOf(*best), ": it needs ", bytes, " on each card; on ", ToString(own_group),
                        " the least, ", ToString(least.vram_mode), ", is ", least_bytes);
  }
  if (best->vram_mode == VramMode::kStandard) {
    return absl::StrCat(WordsOf(*best),
                        compressed ? ": all of the low-rank weights stay on the card, and it needs "
                                   : ": nothing is quantised, and it needs ",
                        bytes);
  }
  OVI_ASSIGN_OR_RETURN(const PlanRow* standard, planner.Row({VramMode::kStandard, best->gpus}));
  return absl::StrCat(WordsOf(*best), ": it needs ", bytes, " (standard ",
                      FormatBytes(standard->bytes_needed),
                      "); of the modes that fit, its pictures are nearest to standard's");
}

}  // namespace

absl::StatusOr<PlanTable> MakePlanTable(const PlanTableRequest& request) {
  Planner planner(request);
  const std::vector<GpuRequest> groups = AllGroups(request);
  const std::vector<GpuRequest> own_groups = OwnGroups(request, groups);
  OVI_ASSIGN_OR_RETURN(std::optional<Choice> best, BestOf(request, own_groups, planner));
  const GpuRequest own_group = best ? best->gpus : own_groups.front();
  OVI_ASSIGN_OR_RETURN(const Choice least, LeastOf(request, own_group, planner));
  Choice own = best.value_or(least);
  if (request.clip.policy != PrecisionPolicy::kReference && request.clip.vram_mode != VramMode::kAuto) {
    own.vram_mode = request.clip.vram_mode;
  }
  if (!best) {
    OVI_ASSIGN_OR_RETURN(best, BestOf(request, groups, planner));
  }

  std::vector<GpuRequest> shown = {own_group};
  if (request.all) shown.insert(shown.end(), groups.begin(), groups.end());
  if (best) shown.push_back(best->gpus);
  std::sort(shown.begin(), shown.end(), Before);
  shown.erase(std::unique(shown.begin(), shown.end()), shown.end());

  PlanTable table{.bytes_max = planner.bytes_max()};
  for (const GpuRequest& group : shown) {
    for (const VramMode mode : kModesByMemory) {
      const Choice choice{mode, group};
      const bool asked = request.all || group == own_group || choice == best;
      if (!asked || !Differs(request, choice)) continue;
      OVI_ASSIGN_OR_RETURN(const PlanRow* row, planner.Row(choice));
      if (choice == own) table.own = table.rows.size();
      if (choice == best) table.recommended = table.rows.size();
      table.rows.push_back(*row);
    }
  }
  const bool compressed = request.clip.memory.block_matrices.low_rank > 0;
  OVI_ASSIGN_OR_RETURN(table.reason, ReasonFor(best, own_group, least, compressed, planner));
  return table;
}

}  // namespace ovi
