// Groups from the inside: rank 0's stream, and the work on attempts.
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/cluster.h"

namespace ovi::sim {
namespace {

constexpr TimeMs kLonelyMax = 60'000;  // without a coordinator; then a group ends itself
constexpr int kStepsMax = 12;

}  // namespace

void Cluster::OrderGroup(const GroupId& id, std::function<void(RealGroup&)> order) {
  Link& link = LinkOf(id);
  if (!link.up || !link.introduced) return;
  link.to_peer_at = std::max(link.to_peer_at, queue_.now() + Latency());
  queue_.At(link.to_peer_at, [this, id, &link, epoch = link.epoch, order = std::move(order)] {
    if (!link.up || link.epoch != epoch) return;
    for (auto& [name, node] : nodes_) {
      if (RealGroup* group = FindGroup(name, id)) order(*group);
    }
  });
}

void Cluster::DialGroup(const std::string& name, const GroupId& id) {
  RealGroup* group = FindGroup(name, id);
  Link& link = LinkOf(id);
  if (group == nullptr || link.up) return;
  if (nodes_.at(name).cut_off || !coordinator_->up()) {
    if (queue_.now() - group->dials_since >= kLonelyMax) {
      KillGroup(name, id, 5, 0);
    } else {
      queue_.After(random_.Between(500, 1'500), [this, name, id] { DialGroup(name, id); });
    }
    return;
  }
  Connect(link);
  const core::GroupAttached hello{
      .group = group->facts, .node = name, .running = group->hand ? group->hand->attempt : AttemptRef{}};
  Send(link, hello, [this, name, id](const core::Reply& accepted) {
    if (accepted.ok()) return;
    queue_.After(random_.Between(10, 500), [this, name, id] { KillGroup(name, id, 6, 0); });
  });
  if (group->hand && group->hand->report) Send(link, *group->hand->report);
}

void Cluster::Run(RealGroup& group, const AttemptRef& attempt) {
  const GroupId& id = group.facts.group;
  if (group.acknowledged.contains(attempt)) {
    verdict_.Wrong(absl::StrCat("group ", id, " was told to run again what it had finished"));
    return;
  }
  if (group.hand && group.hand->attempt != attempt) {
    verdict_.Wrong(absl::StrCat("group ", id, " was told to run another attempt beside its own"));
    return;
  }
  if (group.hand) {
    if (group.hand->report) Send(LinkOf(id), *group.hand->report);
    return;
  }
  group.hand = Hand{.attempt = attempt,
                    .steps_left = static_cast<int>(random_.Between(1, kStepsMax)),
                    .stalled = random_.Chance(faults_.attempt_stalls)};
  queue_.After(random_.Between(100, 3'000),
               [this, name = group.node, id, attempt] { Work(name, id, attempt); });
}

void Cluster::Work(const std::string& name, const GroupId& id, const AttemptRef& attempt) {
  RealGroup* group = FindGroup(name, id);
  if (group == nullptr || !group->hand || group->hand->attempt != attempt || group->hand->report) return;
  Hand& hand = *group->hand;
  if (hand.stalled) return;  // nor does it hear that it was cancelled
  if (random_.Chance(faults_.rank_dies)) {
    static const std::vector<int> kCodes = {0, 1, 2, 3, 4, 137, 139};
    KillGroup(name, id, random_.Of(kCodes), 0);
    return;
  }
  if (hand.cancelled) return EndHand(*group, core::AttemptEnd::kCancelled);
  if (random_.Chance(faults_.attempt_fails)) {
    static const std::vector<core::AttemptEnd> kEnds = {
        core::AttemptEnd::kOutOfMemory, core::AttemptEnd::kGpuError,  core::AttemptEnd::kBadInput,
        core::AttemptEnd::kWorkerCrash, core::AttemptEnd::kCancelled, core::AttemptEnd::kNodeNotReady};
    return EndHand(*group, random_.Of(kEnds));
  }
  if (hand.steps_left == 0) return Upload(name, id, attempt);
  --hand.steps_left;
  Send(LinkOf(id), core::AttemptProgressed{.group = id,
                                           .attempt = attempt,
                                           .progress = {.stage = core::Stage::kDenoise,
                                                        .step = kStepsMax - hand.steps_left,
                                                        .steps = kStepsMax},
                                           .memory = {{.rank = 0, .stage = core::Stage::kEncode}}});
  queue_.After(random_.Between(100, 3'000), [this, name, id, attempt] { Work(name, id, attempt); });
}

// A call of its own beside the stream: asked first, then the file, then the report.
void Cluster::Upload(const std::string& name, const GroupId& id, const AttemptRef& attempt) {
  RealGroup* group = FindGroup(name, id);
  if (group == nullptr || !group->hand || group->hand->attempt != attempt || group->hand->report) return;
  // Until it has worked: a crash takes the answer with it.
  queue_.After(5'000, [this, name, id, attempt] { Upload(name, id, attempt); });
  if (nodes_.at(name).cut_off || !coordinator_->up()) return;
  const core::ArtifactBegun begun{.group = id, .attempt = attempt};
  if (random_.Chance(faults_.told_again)) {
    queue_.After(random_.Between(0, kLateMax), [this, begun] { Deliver(begun, nullptr); });
  }
  queue_.After(Latency(), [this, name, id, attempt, begun] {
    Deliver(begun, [this, name, id, attempt](const core::Reply& allowed) {
      RealGroup* there = FindGroup(name, id);
      if (there == nullptr || !there->hand || there->hand->attempt != attempt || there->hand->report) return;
      if (!allowed.ok()) return EndHand(*there, core::AttemptEnd::kWorkerCrash);
      queue_.After(Latency(), [this, name, id, attempt] {
        RealGroup* still = FindGroup(name, id);
        if (still == nullptr || !still->hand || still->hand->attempt != attempt || still->hand->report)
          return;
        uploads_.insert(attempt);
        EndHand(*still, core::AttemptEnd::kCompleted);
      });
    });
  });
}

void Cluster::EndHand(RealGroup& group, core::AttemptEnd end) {
  Hand& hand = *group.hand;
  hand.report = core::AttemptReported{.group = group.facts.group, .attempt = hand.attempt, .end = end};
  if (end == core::AttemptEnd::kCompleted) {
    hand.report->artifacts = {{.file_name = absl::StrCat(group.facts.group, "/", hand.attempt.job, "-",
                                                         hand.attempt.attempt, ".mp4")}};
  } else {
    hand.report->message = "it said so";
  }
  Send(LinkOf(group.facts.group), *hand.report);
}

}  // namespace ovi::sim
