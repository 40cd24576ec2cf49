// Links, agents, and the groups as processes of a node.
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/cluster.h"

namespace ovi::sim {

Cluster::Cluster(EventQueue& queue, Random& random, Verdict& verdict, std::vector<core::NodeFacts> nodes)
    : queue_(queue), random_(random), verdict_(verdict) {
  for (core::NodeFacts& facts : nodes) nodes_[facts.name].facts = std::move(facts);
}

void Cluster::Begin() {
  for (auto& [name, node] : nodes_) StartAgent(name);
}

RealGroup* Cluster::FindGroup(const std::string& node, const GroupId& group) {
  auto& groups = nodes_.at(node).groups;
  const auto found = groups.find(group);
  return found == groups.end() ? nullptr : &found->second;
}

// --- Links

void Cluster::Deliver(const EventKind& event, const Coordinator::Reply& reply) {
  if (!coordinator_->up()) return;
  const auto remember = [this](const std::string& instance, const std::vector<core::GpuFacts>& gpus) {
    for (const core::GpuFacts& gpu : gpus) foreign_told_[{instance, gpu.index}] = gpu.bytes_foreign;
  };
  // Before the event: what follows from it relies on these figures.
  if (const auto* hello = std::get_if<core::NodeConnected>(&event)) {
    remember(hello->facts.instance_id, hello->facts.gpus);
    LinkOf(hello->facts.name).introduced = true;
  } else if (const auto* report = std::get_if<core::NodeReported>(&event)) {
    remember(report->instance_id, report->gpus);
  } else if (const auto* group = std::get_if<core::GroupAttached>(&event)) {
    LinkOf(group->group.group).introduced = true;
  }
  coordinator_->Post(event, reply);
}

void Cluster::Send(Link& link, EventKind event, Coordinator::Reply reply) {
  if (!link.up) return;
  link.to_coordinator_at = std::max({link.to_coordinator_at, queue_.now() + Latency(), link.hangs_until});
  // What core is promised: a hello that comes again is no older than what is known of the peer.
  const bool is_hello = std::holds_alternative<core::NodeConnected>(event) ||
                        std::holds_alternative<core::GroupAttached>(event);
  if (!is_hello && random_.Chance(faults_.told_again)) {
    queue_.At(link.to_coordinator_at + random_.Between(0, kLateMax),
              [this, event] { Deliver(event, nullptr); });
  }
  queue_.At(link.to_coordinator_at,
            [this, &link, epoch = link.epoch, event = std::move(event), reply = std::move(reply)] {
              if (link.epoch == epoch && link.up) Deliver(event, reply);
            });
}

// The end of the connection before is told before this one begins, or not at all.
void Cluster::Connect(Link& link) {
  if (random_.Chance(0.5)) TellEnd(link, link.epoch);
  ++link.epoch;
  link.up = true;
  link.introduced = false;
  link.end_untold.reset();
}

// The coordinator notices after a while, or when the next connection begins, or never.
void Cluster::Break(Link& link, EventKind end) {
  if (!link.up) return;
  link.up = false;
  link.end_untold = std::move(end);
  queue_.After(random_.Between(0, 3'000), [this, &link, epoch = link.epoch] { TellEnd(link, epoch); });
}

void Cluster::TellEnd(Link& link, int epoch) {
  if (link.epoch != epoch || !link.end_untold) return;
  const EventKind end = *std::exchange(link.end_untold, std::nullopt);
  Deliver(end, nullptr);
}

void Cluster::BreakAgentLink(const std::string& name) {
  RealNode& node = nodes_.at(name);
  if (!LinkOf(name).up) return;
  Break(LinkOf(name), core::NodeDisconnected{.node = name, .instance_id = node.facts.instance_id});
  node.ordered.clear();
  if (!node.agent_lives) return;
  queue_.After(random_.Between(100, 3'000),
               [this, name, instance = node.facts.instance_id] { DialAgent(name, instance); });
}

void Cluster::BreakGroupLink(const std::string& name, const GroupId& id) {
  RealGroup* group = FindGroup(name, id);
  if (group == nullptr || !LinkOf(id).up) return;
  Break(LinkOf(id), core::GroupDetached{.group = id});
  group->dials_since = queue_.now();
  queue_.After(random_.Between(100, 2'000), [this, name, id] { DialGroup(name, id); });
}

void Cluster::BreakAllLinks() {
  for (auto& [name, node] : nodes_) {
    BreakAgentLink(name);
    for (auto& [id, group] : node.groups) BreakGroupLink(name, id);
  }
  for (auto& [peer, link] : links_) link.end_untold.reset();  // there is nobody to tell
}

void Cluster::CutOff(const std::string& name) {
  RealNode& node = nodes_.at(name);
  node.cut_off = true;
  BreakAgentLink(name);
  for (auto& [id, group] : node.groups) BreakGroupLink(name, id);
}

void Cluster::Reconnect(const std::string& name) {
  nodes_.at(name).cut_off = false;
}

void Cluster::Hang(const std::string& name, TimeMs ms) {
  if (nodes_.at(name).agent_lives) LinkOf(name).hangs_until = queue_.now() + ms;
}

// --- Agents

void Cluster::KillAgent(const std::string& name) {
  RealNode& node = nodes_.at(name);
  if (!node.agent_lives) return;
  node.agent_lives = false;
  LinkOf(name).hangs_until = 0;
  BreakAgentLink(name);
}

void Cluster::KillNode(const std::string& name) {
  KillAgent(name);
  RealNode& node = nodes_.at(name);
  while (!node.groups.empty()) KillGroup(name, GroupId(node.groups.begin()->first), -1, 9);
  node.exits_untold.clear();  // nobody is left who saw them
}

void Cluster::StartAgent(const std::string& name) {
  RealNode& node = nodes_.at(name);
  node.agent_lives = true;
  node.facts.instance_id = absl::StrCat(name, "#", ++instances_);
  DialAgent(name, node.facts.instance_id);
}

void Cluster::DialAgent(const std::string& name, const std::string& instance) {
  RealNode& node = nodes_.at(name);
  Link& link = LinkOf(name);
  if (!node.agent_lives || node.facts.instance_id != instance || link.up) return;
  const auto again = [this, name, instance] { DialAgent(name, instance); };
  if (node.cut_off || !coordinator_->up()) {
    queue_.After(1'000, again);
    return;
  }
  Connect(link);
  core::NodeConnected hello{.facts = node.facts};
  for (const auto& [id, group] : node.groups) hello.groups.push_back(group.facts);
  Send(link, hello, [this, &link, again](const core::Reply& accepted) {
    if (accepted.ok()) return;
    link.up = false;
    ++link.epoch;
    queue_.After(1'000, again);
  });
  for (const core::GroupExited& exited : std::exchange(node.exits_untold, {})) {
    if (random_.Chance(0.5)) Send(link, exited);
  }
  queue_.After(2'000, [this, name, instance, epoch = link.epoch] { Report(name, instance, epoch); });
}

void Cluster::Report(const std::string& name, const std::string& instance, int epoch) {
  const Link& link = LinkOf(name);
  if (!link.up || link.epoch != epoch) return;
  Send(LinkOf(name),
       core::NodeReported{.node = name, .instance_id = instance, .gpus = nodes_.at(name).facts.gpus},
       [this, name](const core::Reply& accepted) {
         if (!accepted.ok()) BreakAgentLink(name);
       });
  queue_.After(2'000, [this, name, instance, epoch] { Report(name, instance, epoch); });
}

// The shell sends orders to the agent that the coordinator accepted and hears of, not to another one of that
// name.
bool Cluster::HearsOrders(const std::string& name) {
  const auto& known = coordinator_->state().nodes;
  const auto node = known.find(name);
  const Link& link = LinkOf(name);
  return link.up && link.introduced && node != known.end() && node->second.connected &&
         node->second.facts.instance_id == nodes_.at(name).facts.instance_id;
}

void Cluster::OrderAgent(const std::string& name, std::function<void(RealNode&)> order) {
  Link& link = LinkOf(name);
  if (!HearsOrders(name)) return;
  link.to_peer_at = std::max({link.to_peer_at, queue_.now() + Latency(), link.hangs_until});
  queue_.At(link.to_peer_at, [this, name, &link, epoch = link.epoch, order = std::move(order)] {
    if (link.up && link.epoch == epoch) order(nodes_.at(name));
  });
}

// --- Groups as the agent sees them

void Cluster::Launch(RealNode& node, const core::StartGroup& order) {
  node.ordered.erase(order.group);
  if (node.groups.contains(order.group)) return;
  if (random_.Chance(faults_.launch_fails)) {
    TellExit(node,
             {.node = node.facts.name, .group = order.group, .launched = false, .output_tail = "no mpirun"});
    return;
  }
  RealGroup& group = node.groups[order.group];
  group.node = node.facts.name;
  group.facts = {.group = order.group,
                 .gpu_indices = order.gpu_indices,
                 .bytes_per_rank = order.bytes_per_rank,
                 .model_name = order.model_name};
  group.dials_since = queue_.now();
  if (random_.Chance(faults_.launch_hangs)) return;
  queue_.After(random_.Between(300, 4'000),
               [this, name = group.node, id = order.group] { DialGroup(name, id); });
}

void Cluster::TellExit(RealNode& node, const core::GroupExited& exited) {
  if (LinkOf(node.facts.name).up) {
    Send(LinkOf(node.facts.name), exited);
  } else {
    node.exits_untold.push_back(exited);
  }
}

void Cluster::KillGroup(const std::string& name, const GroupId& id, int exit_code, int signal) {
  if (FindGroup(name, id) == nullptr) return;
  Break(LinkOf(id), core::GroupDetached{.group = id});
  RealNode& node = nodes_.at(name);
  node.groups.erase(id);
  TellExit(node, {.node = name,
                  .group = id,
                  .launched = true,
                  .exit_code = exit_code,
                  .signal = signal,
                  .output_tail = "rank 0: last words"});
}

void Cluster::CarryOut(const core::Decision& decision) {
  if (const auto* start = std::get_if<core::StartGroup>(&decision)) {
    RealNode& node = nodes_.at(start->node);
    if (!HearsOrders(start->node)) return;
    node.ordered[start->group] = *start;
    OrderAgent(start->node, [this, order = *start](RealNode& there) { Launch(there, order); });
  } else if (const auto* stop = std::get_if<core::StopGroup>(&decision)) {
    const GroupId id = stop->group;
    OrderAgent(stop->node, [this, id](RealNode& node) {
      if (!node.groups.contains(id)) {
        TellExit(node, {.node = node.facts.name, .group = id, .output_tail = "no such group lives here"});
        return;
      }
      queue_.After(random_.Between(20, 2'500),
                   [this, name = node.facts.name, id] { KillGroup(name, id, 0, 15); });
    });
    OrderGroup(id, [this, id](RealGroup& group) {
      queue_.After(random_.Between(20, 1'000), [this, name = group.node, id] { KillGroup(name, id, 0, 0); });
    });
  } else if (const auto* run = std::get_if<core::RunAttempt>(&decision)) {
    OrderGroup(run->group, [this, attempt = run->attempt](RealGroup& group) { Run(group, attempt); });
  } else if (const auto* cancel = std::get_if<core::CancelAttempt>(&decision)) {
    OrderGroup(cancel->group, [this, attempt = cancel->attempt](RealGroup& group) {
      if (!group.hand || group.hand->attempt != attempt) return;
      group.hand->cancelled = true;
      if (group.hand->report) Send(LinkOf(group.facts.group), *group.hand->report);
    });
  } else if (const auto* acknowledge = std::get_if<core::AcknowledgeAttempt>(&decision)) {
    OrderGroup(acknowledge->group, [attempt = acknowledge->attempt](RealGroup& group) {
      if (!group.hand || group.hand->attempt != attempt || !group.hand->report) return;
      group.hand.reset();
      group.acknowledged.insert(attempt);
    });
  } else if (const auto* drop = std::get_if<core::DropUploads>(&decision)) {
    uploads_.erase(drop->attempt);
  }
}

std::int64_t Cluster::BytesForeignTold(const std::string& node, int index) const {
  const std::string& instance = coordinator_->state().nodes.at(node).facts.instance_id;
  return foreign_told_.at({instance, index});
}

}  // namespace ovi::sim
