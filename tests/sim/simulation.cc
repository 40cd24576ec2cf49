#include "tests/sim/simulation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ovi::sim {
namespace {

constexpr TimeMs kFaultsMs = 150'000;
constexpr TimeMs kPatience = 3'600'000;  // for all jobs to end once nothing goes wrong any more

}  // namespace

core::Policy Simulation::MakePolicy(Random& random) {
  return {.node_silence_ms_max = 6'000,
          .reconnect_ms_max = random.Between(5'000, 15'000),
          .launch_ms_max = 12'000,
          .stall_ms_max = 45'000,
          .cancel_ms_max = 4'000,
          .stop_ms_max = 6'000,
          .group_idle_ms_max = random.Between(5'000, 40'000),
          .groups_per_gpu_max = static_cast<int>(random.Between(1, 2)),
          .head_wait_ms_max = 20'000};
}

// Ranks of a gang take one byte less each time they are twice as many; with fsdp, their part and two more. In
// the lower modes two thirds, half and a third of that, and one byte more. In the low-rank form one byte
// less; the modes that stream have a use for what fp8 takes.
std::vector<core::MemoryNeed> Simulation::MakeNeeds(std::int64_t bytes, std::int64_t reference_bytes,
                                                    int ranks_max) {
  std::vector<core::MemoryNeed> needs;
  const auto add = [&](int ranks, bool fsdp, std::int64_t executed, std::int64_t reference) {
    const auto in = [&](VramMode mode, std::int64_t mode_bytes, std::int64_t mode_reference) {
      needs.push_back({.world_size = ranks,
                       .fsdp = fsdp,
                       .vram_mode = mode,
                       .as_executed_bytes = mode_bytes,
                       .reference_bytes = mode_reference,
                       .low_rank_bytes = mode_bytes - 1,
                       .as_executed_bytes_useful = std::max(mode_bytes, executed * 2 / 3 + 1),
                       .low_rank_bytes_useful = std::max(mode_bytes - 1, executed * 2 / 3)});
    };
    in(VramMode::kStandard, executed, reference);
    in(VramMode::kFp8, executed * 2 / 3 + 1, 0);
    in(VramMode::kFp8Offload, executed / 2 + 1, 0);
    in(VramMode::kUltraLow, executed / 3 + 1, 0);
  };
  std::int64_t saved = 0;
  for (int ranks = 1; ranks <= ranks_max; ranks *= 2, ++saved)
    add(ranks, false, bytes - saved, reference_bytes - saved);
  for (int ranks = 2; ranks <= ranks_max; ++ranks)
    add(ranks, true, bytes / ranks + 2, reference_bytes / ranks + 2);
  return needs;
}

std::vector<core::NodeFacts> Simulation::MakeNodes(Random& random) {
  std::vector<core::NodeFacts> nodes;
  const std::int64_t node_count = random.Between(1, 3);
  for (std::int64_t n = 0; n < node_count; ++n) {
    core::NodeFacts node{.name = absl::StrCat("box-", n)};
    const std::int64_t gpu_count = random.Between(1, 4);
    for (int i = 0; i < gpu_count; ++i) {
      node.gpus.push_back({.index = i,
                           .bytes_total = random.Of(std::vector<std::int64_t>{8, 16, 24}),
                           .bytes_driver = random.Between(0, 2)});
    }
    const int ranks_max = random.Chance(0.5) ? 2 : 4;
    node.models.push_back({.name = "small", .needs = MakeNeeds(6, 14, ranks_max)});
    if (random.Chance(0.7)) node.models.push_back({.name = "large", .needs = MakeNeeds(11, 20, ranks_max)});
    nodes.push_back(std::move(node));
  }
  return nodes;
}

Simulation::Simulation(std::uint64_t seed)
    : random_(seed),
      policy_(MakePolicy(random_)),
      events_come_late_(random_.Chance(0.5)),
      cluster_(queue_, random_, verdict_, MakeNodes(random_)),
      books_(verdict_, cluster_, policy_),
      coordinator_(queue_, verdict_, policy_,
                   {.check =
                        [this](const core::Outcome& outcome) {
                          ++event_count_;
                          books_.Check(coordinator_.state(), outcome);
                        },
                    .carry_out = [this](const core::Decision& decision) { cluster_.CarryOut(decision); },
                    .crashed =
                        [this] {
                          cluster_.BreakAllLinks();
                          queue_.After(random_.Between(100, 30'000), [this] { Restart(); });
                        }}) {
  cluster_.SetCoordinator(coordinator_);
}

void Simulation::Restart() {
  if (coordinator_.up()) return;
  books_.OnRestart();
  coordinator_.Restart();
}

void Simulation::Tick() {
  coordinator_.Post(core::Tick{});
  if (coordinator_.up()) books_.CheckTimes(coordinator_.state(), queue_.now(), events_come_late_);
  queue_.After(500, [this] { Tick(); });
}

// By the simulator's own reading of what was asked for.
bool Simulation::CouldRun(const core::NodeFacts& node, const core::ModelFacts& model,
                          const core::JobRequest& request) {
  return std::any_of(model.needs.begin(), model.needs.end(), [&](const core::MemoryNeed& need) {
    if (!MayHave(request, need.world_size, need.fsdp) || !MayRunIn(request, need.vram_mode)) return false;
    const std::optional<std::int64_t> bytes = BytesOf(need, request);
    return bytes && std::count_if(node.gpus.begin(), node.gpus.end(), [&bytes](const core::GpuFacts& gpu) {
                      return gpu.bytes_total - gpu.bytes_driver >= *bytes;
                    }) >= need.world_size;
  });
}

// Something that a node could hold: a coordinator that knows no node yet takes anything, and it would wait
// for ever.
core::JobRequest Simulation::MakeRequest() {
  std::vector<const core::NodeFacts*> nodes;
  for (const auto& [name, node] : cluster_.nodes()) nodes.push_back(&node.facts);
  const core::NodeFacts& node = *random_.Of(nodes);
  for (;;) {
    const core::ModelFacts& model = random_.Of(node.models);
    core::JobRequest request{.user = "ada",
                             .priority = static_cast<int>(random_.Between(-1, 1)),
                             .model_name = model.name,
                             .reference = random_.Chance(0.2)};
    if (random_.Chance(0.4)) request.allocation = core::Allocation::kSingle;
    if (random_.Chance(0.2)) request.allocation = core::Allocation::kFsdp;
    if (random_.Chance(0.3)) request.allocation = core::Allocation::kMulti;
    if (request.allocation == core::Allocation::kMulti) request.gpu_count = 2;
    if (request.allocation == core::Allocation::kFsdp)
      request.gpu_count = static_cast<int>(random_.Of(std::vector<int>{0, 2, 3}));
    if (random_.Chance(0.5)) request.vram_mode = static_cast<VramMode>(random_.Between(1, 4));
    request.low_rank = !request.reference && random_.Chance(0.2);
    if (random_.Chance(0.2)) request.vram_bytes_max = random_.Between(3, 12);
    if (CouldRun(node, model, request)) return request;
  }
}

// Asks until it is answered, as a client does that wants its job done once.
void Simulation::Submit(const std::string& request_id) {
  Client& client = clients_.at(request_id);
  if (client.job != 0) return;
  queue_.After(2'000, [this, request_id] { Submit(request_id); });
  coordinator_.Post(
      core::JobsSubmitted{{{.request_id = request_id, .request = client.request, .spec = request_id}}},
      [this, request_id](const core::Reply& answer) {
        Client& asked = clients_.at(request_id);
        if (!answer.ok()) {
          asked.job = -1;  // refused: no node could ever hold it
        } else if (asked.job > 0 && asked.job != answer->front()) {
          verdict_.Wrong(absl::StrCat(request_id, ": two jobs for one request"));
        } else {
          asked.job = answer->front();
        }
      });
}

void Simulation::SubmitSoon(const std::string& request_id, const core::JobRequest& request) {
  clients_[request_id].request = request;
  queue_.After(random_.Between(5'000, kFaultsMs), [this, request_id] { Submit(request_id); });
}

void Simulation::BreakSomething() {
  std::vector<std::string> names;
  for (const auto& [name, node] : cluster_.nodes()) names.push_back(name);
  const std::string name = random_.Of(names);
  RealNode& node = cluster_.nodes().at(name);
  std::vector<GroupId> groups;
  for (const auto& [id, group] : node.groups) groups.push_back(id);
  switch (random_.Below(12)) {
    case 0:
      cluster_.KillAgent(name);
      queue_.After(random_.Between(500, 40'000), [this, name] {
        if (!cluster_.nodes().at(name).agent_lives) cluster_.StartAgent(name);
      });
      break;
    case 1:
      cluster_.KillNode(name);
      queue_.After(random_.Between(2'000, 40'000), [this, name] {
        if (!cluster_.nodes().at(name).agent_lives) cluster_.StartAgent(name);
      });
      break;
    case 2:
      cluster_.BreakAgentLink(name);
      break;
    case 3:
      if (!groups.empty()) cluster_.BreakGroupLink(name, random_.Of(groups));
      break;
    case 4:
      if (!groups.empty()) cluster_.KillGroup(name, random_.Of(groups), 137, 0);
      break;
    case 5:
      cluster_.CutOff(name);
      queue_.After(random_.Between(500, 40'000), [this, name] { cluster_.Reconnect(name); });
      break;
    case 6:
      cluster_.Hang(name, random_.Between(1'000, 25'000));
      break;
    case 7:
      coordinator_.CrashAtNextChange(static_cast<Crash>(random_.Between(1, 3)));
      break;
    case 8:
      coordinator_.CrashNow();
      break;
    case 9: {
      core::GpuFacts& gpu = node.facts.gpus[static_cast<std::size_t>(
          random_.Below(static_cast<std::int64_t>(node.facts.gpus.size())))];
      gpu.bytes_foreign = random_.Chance(0.5) ? 0 : random_.Between(0, gpu.bytes_total);
      gpu.faulty = random_.Chance(0.1);
      break;
    }
    case 10:
      if (random_.Chance(0.4)) {
        coordinator_.Post(core::DrainAsked{.node = name, .reason = "cleaning"});
      } else {
        coordinator_.Post(core::ResumeAsked{.node = name});
      }
      break;
    default:
      if (!clients_.empty()) {
        const auto chosen =
            std::next(clients_.begin(), random_.Below(static_cast<std::int64_t>(clients_.size())));
        if (chosen->second.job > 0) coordinator_.Post(core::CancelAsked{.job = chosen->second.job});
      }
  }
}

void Simulation::NextFault() {
  if (healed_at_ != 0) return;
  BreakSomething();
  queue_.After(random_.Between(200, 8'000), [this] { NextFault(); });
}

void Simulation::Heal() {
  healed_at_ = queue_.now();
  cluster_.SetFaults({});
  coordinator_.CrashAtNextChange(Crash::kNone);
  Restart();
  for (auto& [name, node] : cluster_.nodes()) {
    cluster_.Reconnect(name);
    if (!node.agent_lives) cluster_.StartAgent(name);
    for (core::GpuFacts& gpu : node.facts.gpus) {
      gpu.bytes_foreign = 0;
      gpu.faulty = false;
    }
    // More than once: the agent may have to find the coordinator first.
    for (const TimeMs ms : {TimeMs{100}, TimeMs{60'000}}) {
      queue_.After(ms, [this, node_name = name] { coordinator_.Post(core::ResumeAsked{.node = node_name}); });
    }
  }
}

bool Simulation::AllTold() const {
  return std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& client) { return client.second.job != 0; });
}

bool Simulation::AllEnded() const {
  const core::State& state = coordinator_.state();
  return coordinator_.up() && AllTold() && state.queue.empty() && state.active.empty();
}

bool Simulation::Until(TimeMs limit, const std::function<bool()>& reached) {
  while (verdict_.ok() && !reached()) {
    if (queue_.now() > limit || !queue_.RunNext()) return false;
  }
  return verdict_.ok();
}

void Simulation::CheckEnd() {
  const core::State& state = coordinator_.state();
  for (const auto& [request_id, client] : clients_) {
    if (client.job < 0) continue;
    const auto found = state.jobs.find(client.job);
    if (found == state.jobs.end()) {
      verdict_.Wrong(absl::StrCat(request_id, ": its job is lost"));
    } else if (found->second.spec != request_id) {
      verdict_.Wrong(absl::StrCat(request_id, ": its job is another's"));
    } else if (request_id.starts_with("last-") && found->second.state != core::JobState::kCompleted) {
      verdict_.Wrong(absl::StrCat(request_id, ": nothing went wrong, but it did not complete"));
    }
  }
  if (!state.groups.empty()) verdict_.Wrong("a group is still remembered: " + state.groups.begin()->first);
  for (const auto& [name, node] : cluster_.nodes()) {
    if (!node.groups.empty()) verdict_.Wrong("a group still lives: " + node.groups.begin()->first);
  }
}

std::string Simulation::Run() {
  cluster_.SetFaults({.launch_fails = 0.03,
                      .launch_hangs = 0.03,
                      .attempt_fails = 0.02,
                      .attempt_stalls = 0.05,
                      .rank_dies = 0.01,
                      .told_again = events_come_late_ ? 0.1 : 0.0});
  cluster_.Begin();
  Tick();
  const std::int64_t job_count = random_.Between(5, 25);
  for (std::int64_t i = 0; i < job_count; ++i) SubmitSoon(absl::StrCat("request-", i), MakeRequest());
  NextFault();
  Until(queue_.now() + kFaultsMs, [] { return false; });
  Heal();
  if (!Until(queue_.now() + kPatience, [this] { return AllEnded(); })) {
    verdict_.Wrong("not every job ended");
    return verdict_.first();
  }
  // What was reserved and never given back would show now. Late duplicates have arrived.
  Until(queue_.now() + 120'000, [] { return false; });
  for (int i = 0; i < 4; ++i) {
    const std::string request_id = absl::StrCat("last-", i);
    clients_[request_id].request = MakeRequest();
    Submit(request_id);
  }
  if (!Until(queue_.now() + kPatience, [this] { return AllEnded(); }))
    verdict_.Wrong("not every last job ended");
  Until(queue_.now() + 120'000, [] { return false; });
  if (verdict_.ok()) CheckEnd();
  return verdict_.first();
}

}  // namespace ovi::sim
