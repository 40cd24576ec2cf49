#include "tests/sim/books.h"

#include <algorithm>
#include <variant>

#include "absl/strings/str_cat.h"
#include "coordinator/core/retry.h"

namespace ovi::sim {
namespace {

bool Uses(const std::vector<int>& indices, int index) {
  return std::find(indices.begin(), indices.end(), index) != indices.end();
}

std::string Name(const AttemptRef& ref) {
  return absl::StrCat("job ", ref.job, " attempt ", ref.attempt);
}

}  // namespace

bool MayHave(const core::JobRequest& request, int ranks, bool fsdp) {
  const bool counted = request.gpu_count == 0 || request.gpu_count == ranks;
  switch (request.allocation) {
    case core::Allocation::kSingle:
      return !fsdp && ranks == 1;
    case core::Allocation::kMulti:
      return !fsdp && ranks > 1 && counted;
    case core::Allocation::kFsdp:
      return fsdp && ranks > 1 && counted;
    case core::Allocation::kAuto:
      return !fsdp && (ranks == 1 || ranks == 2 || ranks == 4);
  }
  return false;
}

bool MayRunIn(const core::JobRequest& request, VramMode mode) {
  if (request.reference) return mode == VramMode::kStandard;
  if (request.vram_mode == VramMode::kAuto) return !request.low_rank || mode != VramMode::kFp8;
  return request.vram_mode == mode;
}

std::optional<std::int64_t> BytesOf(const core::MemoryNeed& need, const core::JobRequest& request) {
  const std::int64_t bytes = request.reference  ? need.reference_bytes
                             : request.low_rank ? need.low_rank_bytes
                                                : need.as_executed_bytes;
  if (request.vram_bytes_max > 0 && bytes > request.vram_bytes_max) return std::nullopt;
  return bytes;
}

void Books::Check(const core::State& state, const core::Outcome& outcome) {
  for (const core::Change& change : outcome.changes) OnChange(state, change);
  for (const core::Decision& decision : outcome.decisions) OnDecision(state, decision);
  if (!std::is_sorted(outcome.touched.begin(), outcome.touched.end()))
    verdict_.Wrong("touched is not sorted");
  if (!outcome.changes.empty()) OnState(state);
  // One that core gave up to remember, and that comes back, may be taken in again.
  std::erase_if(stopped_, [&state](const GroupId& group) { return !state.groups.contains(group); });
}

void Books::OnChange(const core::State& state, const core::Change& change) {
  const auto move_to = [this](core::JobId job, core::JobState next) {
    const core::JobState from = states_[job];
    if (!core::IsLegal(from, next)) {
      verdict_.Wrong(absl::StrCat("job ", job, ": ", core::ToString(from), " -> ", core::ToString(next)));
    }
    states_[job] = next;
  };
  if (const auto* added = std::get_if<core::JobAdded>(&change)) {
    if (!states_.emplace(added->job, core::JobState::kPending).second)
      verdict_.Wrong("a job id was used twice");
  } else if (const auto* started = std::get_if<core::AttemptStarted>(&change)) {
    move_to(started->attempt.job, core::JobState::kConfiguring);
    if (!started_.insert(started->attempt).second) verdict_.Wrong(Name(started->attempt) + " started twice");
    if (stopped_.contains(started->group))
      verdict_.Wrong(Name(started->attempt) + " began on a group that was stopped");
    if (cancelled_.contains(started->attempt.job))
      verdict_.Wrong(Name(started->attempt) + " began after its cancel");
    if (drained_.contains(started->node)) verdict_.Wrong(Name(started->attempt) + " began on a drained node");
    CheckAttemptsBefore(state.jobs.at(started->attempt.job), *started);
    CheckGroupOf(state.jobs.at(started->attempt.job).request, *started);
    CheckModeOf(state, *started);
    ++seen_[started->warm ? "warm start" : "cold start"];
  } else if (const auto* advanced = std::get_if<core::AttemptAdvanced>(&change)) {
    move_to(advanced->attempt.job, advanced->state);
  } else if (const auto* ended = std::get_if<core::AttemptEnded>(&change)) {
    if (!started_.contains(ended->attempt)) verdict_.Wrong(Name(ended->attempt) + " ended before it began");
    if (!ended_.insert(ended->attempt).second) verdict_.Wrong(Name(ended->attempt) + " ended twice");
    // A completed job leaves COMPLETING with its JobFinished.
    if (ended->end != core::AttemptEnd::kCompleted) move_to(ended->attempt.job, core::JobState::kPending);
    ++seen_[core::ToString(ended->end)];
  } else if (const auto* finished = std::get_if<core::JobFinished>(&change)) {
    move_to(finished->job, finished->state);
    ++seen_[absl::StrCat("job ", core::ToString(finished->state))];
    if (finished->state != core::JobState::kCompleted) return;
    const core::Attempt& last = state.jobs.at(finished->job).attempts.back();
    const AttemptRef ref{finished->job, last.number};
    if (!published_.emplace(finished->job, ref).second) verdict_.Wrong(Name(ref) + ": completed twice");
    if (!cluster_.uploads().contains(ref)) verdict_.Wrong(Name(ref) + ": completed without its files");
    const std::string file = absl::StrCat(last.group, "/", ref.job, "-", ref.attempt, ".mp4");
    if (finished->artifacts.size() != 1 || finished->artifacts[0].file_name != file) {
      verdict_.Wrong(Name(ref) + ": completed with the result of another attempt");
    }
  } else if (const auto* cancel = std::get_if<core::CancelRequested>(&change)) {
    cancelled_.insert(cancel->job);
  } else if (const auto* drained = std::get_if<core::NodeDrained>(&change)) {
    drained_.insert(drained->node);
  } else if (const auto* resumed = std::get_if<core::NodeResumed>(&change)) {
    drained_.erase(resumed->node);
  }
}

// Attempts that end NODE_NOT_READY do not count, and no node has two of one job.
void Books::CheckAttemptsBefore(const core::Job& job, const core::AttemptStarted& started) {
  int counted = 1;
  for (const core::Attempt& before : job.attempts) {
    if (before.number >= started.attempt.attempt) break;
    if (before.end != core::AttemptEnd::kNodeNotReady) {
      ++counted;
    } else if (before.node == started.node) {
      verdict_.Wrong(Name(started.attempt) + " began on a node that was not ready for it");
    }
  }
  if (counted > policy_.attempts_max) verdict_.Wrong(Name(started.attempt) + " is one too many");
}

// Against what the node says that its models need.
void Books::CheckGroupOf(const core::JobRequest& request, const core::AttemptStarted& started) {
  const auto ranks = static_cast<int>(started.gpu_indices.size());
  const bool fsdp = request.allocation == core::Allocation::kFsdp;
  bool enough = false;
  for (const core::ModelFacts& model : cluster_.nodes().at(started.node).facts.models) {
    if (model.name != request.model_name) continue;
    for (const core::MemoryNeed& need : model.needs) {
      if (need.world_size != ranks || need.fsdp != fsdp || need.vram_mode != started.vram_mode) continue;
      const std::optional<std::int64_t> bytes = BytesOf(need, request);
      enough = bytes && started.bytes_per_rank >= *bytes;
      if (started.warm || !bytes || started.bytes_per_rank == *bytes) continue;
      const std::int64_t useful =
          request.low_rank ? need.low_rank_bytes_useful : need.as_executed_bytes_useful;
      const bool limited = request.vram_bytes_max > 0 && started.bytes_per_rank > request.vram_bytes_max;
      if (started.bytes_per_rank > useful || limited || policy_.groups_per_gpu_max > 1)
        verdict_.Wrong(Name(started.attempt) + " began with more bytes than it has a use for");
      ++seen_["more than needed"];
    }
  }
  if (!enough || !MayHave(request, ranks, fsdp) || !MayRunIn(request, started.vram_mode)) {
    verdict_.Wrong(absl::StrCat(Name(started.attempt), " began on ", ranks, " GPUs with ",
                                started.bytes_per_rank, " bytes each, which is not what it needs"));
  }
  if (fsdp) ++seen_["fsdp"];
  if (request.low_rank) ++seen_["low rank"];
  if (request.vram_bytes_max > 0) ++seen_["limited"];
}

// A job in auto takes no lower mode than a node could give it that the coordinator hears of, whatever of ours
// is there, unless an attempt failed on that node before.
void Books::CheckModeOf(const core::State& state, const core::AttemptStarted& started) {
  const core::Job& job = state.jobs.at(started.attempt.job);
  ++seen_[absl::StrCat("in ", ToString(started.vram_mode))];
  if (job.request.vram_mode != VramMode::kAuto || job.request.reference) return;
  for (const VramMode better : job.request.low_rank
                                   ? std::vector{VramMode::kStandard, VramMode::kFp8Offload}
                                   : std::vector{VramMode::kStandard, VramMode::kUltraLow, VramMode::kFp8}) {
    if (better == started.vram_mode) return;
    for (const auto& [name, node] : state.nodes) {
      const bool tried =
          std::any_of(job.attempts.begin(), job.attempts.end(), [&name = name](const core::Attempt& attempt) {
            return attempt.node == name && attempt.end != core::AttemptEnd::kNone;
          });
      if (tried || !node.connected || drained_.contains(name)) continue;
      for (const core::ModelFacts& model : node.facts.models) {
        if (model.name == job.request.model_name && GivesMode(node.facts, model, job.request, better)) {
          verdict_.Wrong(absl::StrCat(Name(started.attempt), " began in ", ToString(started.vram_mode),
                                      ", but ", name, " has room for ", ToString(better)));
        }
      }
    }
  }
}

// With the GPUs that work, and the memory that others leave.
bool Books::GivesMode(const core::NodeFacts& node, const core::ModelFacts& model,
                      const core::JobRequest& request, VramMode mode) {
  return std::any_of(model.needs.begin(), model.needs.end(), [&](const core::MemoryNeed& need) {
    const std::optional<std::int64_t> bytes = BytesOf(need, request);
    return bytes && need.vram_mode == mode && MayHave(request, need.world_size, need.fsdp) &&
           std::count_if(node.gpus.begin(), node.gpus.end(), [&bytes](const core::GpuFacts& gpu) {
             return !gpu.faulty && gpu.bytes_total - gpu.bytes_driver - gpu.bytes_foreign >= *bytes;
           }) >= need.world_size;
  });
}

void Books::OnDecision(const core::State& state, const core::Decision& decision) {
  if (const auto* start = std::get_if<core::StartGroup>(&decision)) {
    OnStart(*start);
  } else if (const auto* run = std::get_if<core::RunAttempt>(&decision)) {
    const core::Job* job = core::CurrentJob(state, run->attempt);
    if (job == nullptr || job->current()->group != run->group) {
      verdict_.Wrong(
          absl::StrCat("group ", run->group, " is told to run ", Name(run->attempt), ", which is not its"));
    } else if (job->current()->vram_mode != run->vram_mode || run->vram_mode == VramMode::kAuto) {
      verdict_.Wrong(absl::StrCat("group ", run->group, " is told to run ", Name(run->attempt), " in ",
                                  ToString(run->vram_mode)));
    }
  } else if (const auto* drop = std::get_if<core::DropUploads>(&decision)) {
    const auto published = published_.find(drop->attempt.job);
    if (published != published_.end() && published->second == drop->attempt) {
      verdict_.Wrong(Name(drop->attempt) + ": its published result is dropped");
    }
    if (core::CurrentJob(state, drop->attempt) != nullptr) {
      verdict_.Wrong(Name(drop->attempt) + ": the files of the current attempt are dropped");
    }
  } else if (const auto* acknowledge = std::get_if<core::AcknowledgeAttempt>(&decision)) {
    const core::Job* job = core::CurrentJob(state, acknowledge->attempt);
    if (job != nullptr && job->current()->group == acknowledge->group) {
      verdict_.Wrong(Name(acknowledge->attempt) + ": acknowledged, but goes on");
    }
  } else if (const auto* stop = std::get_if<core::StopGroup>(&decision)) {
    stopped_.insert(stop->group);
    ++seen_["stop"];
  } else if (std::holds_alternative<core::CancelAttempt>(decision)) {
    ++seen_["cancel"];
  }
}

// Against the processes that live on the node, and the orders that are under way to it.
void Books::OnStart(const core::StartGroup& start) {
  RealNode& node = cluster_.nodes().at(start.node);
  for (const int index : start.gpu_indices) {
    const core::GpuFacts& gpu = node.facts.gpus.at(static_cast<std::size_t>(index));
    std::int64_t bytes = start.bytes_per_rank + gpu.bytes_driver;
    int groups = 1;
    for (const auto& [id, group] : node.groups) {
      if (!Uses(group.facts.gpu_indices, index)) continue;
      bytes += group.facts.bytes_per_rank + gpu.bytes_driver;
      ++groups;
    }
    for (const auto& [id, order] : node.ordered) {
      if (node.groups.contains(id) || !Uses(order.gpu_indices, index)) continue;
      bytes += order.bytes_per_rank + gpu.bytes_driver;
      ++groups;
    }
    const std::int64_t bytes_max = gpu.bytes_total - cluster_.BytesForeignTold(start.node, index);
    if (bytes > bytes_max || groups > policy_.groups_per_gpu_max) {
      verdict_.Wrong(absl::StrCat("group ", start.group, " over-promises gpu ", index, " of ", start.node,
                                  ": ", bytes, " of ", bytes_max, " bytes, ", groups, " groups"));
    }
  }
}

void Books::CheckTimes(const core::State& state, TimeMs now, bool events_come_late) {
  constexpr TimeMs kSlack = 10'000;
  // What comes late passes for a sign of life.
  const TimeMs silence_max =
      std::max(policy_.reconnect_ms_max, policy_.launch_ms_max) + kSlack + (events_come_late ? kLateMax : 0);
  for (const core::JobId id : state.active) {
    const core::Job& job = state.jobs.at(id);
    const AttemptRef ref{id, job.current()->number};
    const RealNode& node = cluster_.nodes().at(job.current()->node);
    if (node.groups.contains(job.current()->group) || node.ordered.contains(job.current()->group)) {
      groupless_since_.erase(ref);
    } else if (now - std::max(groupless_since_.try_emplace(ref, now).first->second, state.started_at) >
               silence_max) {
      verdict_.Wrong(Name(ref) + " goes on without a group");
    }
    if (job.cancel_requested &&
        now - std::max(job.cancel_requested_at, state.started_at) > policy_.cancel_ms_max + 1'000) {
      verdict_.Wrong(Name(ref) + " goes on long after its cancel");
    }
  }
}

void Books::OnState(const core::State& state) {
  std::size_t pending = 0, active = 0, finished = 0;
  for (const auto& [id, job] : state.jobs) {
    if (job.state != states_[id]) verdict_.Wrong(absl::StrCat("job ", id, " changed without a change"));
    const bool going = job.current() != nullptr;
    if (going != (job.state > core::JobState::kPending && !job.ended())) {
      verdict_.Wrong(
          absl::StrCat("job ", id, " is ", core::ToString(job.state), " with, or without, an attempt"));
    }
    pending +=
        state.queue.contains({job.request.priority, id}) && job.state == core::JobState::kPending ? 1 : 0;
    active += state.active.contains(id) && going ? 1 : 0;
    finished += state.finished.contains({job.finished_at, id}) && job.ended() ? 1 : 0;
  }
  if (pending + active + finished != state.jobs.size() || pending != state.queue.size() ||
      active != state.active.size() || finished != state.finished.size()) {
    verdict_.Wrong("an index does not match the jobs");
  }
}

}  // namespace ovi::sim
