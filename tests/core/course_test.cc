#include "coordinator/core/course.h"

#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

void AddNode(State& state, const NodeFacts& facts) {
  state.nodes[facts.name] = {.facts = facts, .connected = true};
}

Attempt Ended(const std::string& node, AttemptEnd end, VramMode mode = VramMode::kStandard) {
  return {.node = node, .end = end, .vram_mode = mode};
}

std::set<std::string> AvoidedBy(const Job& job, const State& state) {
  return CourseOf(Inventory(state), job).avoid;
}

std::vector<VramMode> ModesFor(const Job& job, const State& state) {
  return CourseOf(Inventory(state), job).modes;
}

TEST(Course, AvoidsNodesThatFailedTheJobWhileAnotherCouldHoldIt) {
  State state;
  AddNode(state, Box("a", {8}));
  Job job{.request = Single()};
  job.attempts.push_back(Ended("a", AttemptEnd::kWorkerCrash));
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty()) << "there is no other";
  AddNode(state, Box("b", {5}));
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty()) << "too small";
  AddNode(state, Box("c", {8}));
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a"));
  state.nodes.at("c").facts.gpus[0].bytes_foreign = 3;
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty()) << "others have its memory";
  state.nodes.at("c").facts.gpus[0].bytes_foreign = 0;
  state.drained["c"] = "fan";
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty());
  state.drained.clear();
  state.nodes.at("c").connected = false;
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty());
  state.nodes.at("c").connected = true;
  job.attempts.back().end = AttemptEnd::kPreempted;  // not the fault of the node
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty());
}

TEST(Course, AvoidsANodeThatWasNotReadyWhateverElseThereIs) {
  State state;
  AddNode(state, Box("a", {8}));
  AddNode(state, Box("b", {8}));
  Job job{.request = Single()};
  job.attempts.push_back(Ended("a", AttemptEnd::kNodeNotReady));
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a"));
  EXPECT_TRUE(HasNodeLeft(state, job));
  job.attempts.push_back(Ended("b", AttemptEnd::kWorkerCrash));
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a")) << "b is all that is left";
  AddNode(state, Box("c", {8}));
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a", "b"));
  state.nodes.clear();
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a"));
  EXPECT_FALSE(HasNodeLeft(state, job));
}

TEST(Course, LeavesNodesThatMayTakeTheJobOneDay) {
  State state;
  AddNode(state, Box("a", {8}));
  AddNode(state, Box("b", {8}));
  Job job{.request = Single()};
  job.attempts.push_back(Ended("a", AttemptEnd::kNodeNotReady));
  Node& b = state.nodes.at("b");
  b.facts.gpus[0].bytes_foreign = 8;
  EXPECT_TRUE(HasNodeLeft(state, job));
  b.connected = false;
  EXPECT_TRUE(HasNodeLeft(state, job)) << "it may be back in a moment";
  b.given_up = true;
  EXPECT_FALSE(HasNodeLeft(state, job));
  b = {.facts = Box("b", {8}), .connected = true};
  state.drained["b"] = "fan";
  EXPECT_FALSE(HasNodeLeft(state, job));
  state.drained.clear();
  b.facts = Box("b", {5});
  EXPECT_FALSE(HasNodeLeft(state, job)) << "too small";
}

TEST(Course, GoesOnInNoLowerModeUnlessMemoryRanOut) {
  State state;
  AddNode(state, WithModes(Box("a", {8})));
  AddNode(state, WithModes(Box("b", {5})));
  Job job{.request = Single()};
  job.attempts.push_back(Ended("a", AttemptEnd::kWorkerCrash));
  EXPECT_THAT(AvoidedBy(job, state), IsEmpty()) << "standard is only on a";
  EXPECT_THAT(ModesFor(job, state), ElementsAre(VramMode::kStandard));
  job.attempts.back().end = AttemptEnd::kOutOfMemory;
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a")) << "where standard does not go";
  EXPECT_THAT(ModesFor(job, state), Contains(VramMode::kUltraLow));
  job.attempts.back() = Ended("a", AttemptEnd::kWorkerCrash, VramMode::kUltraLow);
  EXPECT_THAT(AvoidedBy(job, state), ElementsAre("a"));
}

TEST(Course, GoesLowerWhereNoNodeGivesTheModeAnyMoreButNotForWantOfAFile) {
  State state;
  AddNode(state, WithModes(Box("a", {8})));
  AddNode(state, WithModes(Box("b", {5})));
  Job job{.request = Single()};
  job.attempts.push_back(Ended("a", AttemptEnd::kNodeFail));
  state.nodes.at("a").connected = false;
  EXPECT_THAT(ModesFor(job, state), ElementsAre(VramMode::kStandard)) << "it may be back in a moment";
  state.nodes.at("a").given_up = true;
  EXPECT_THAT(ModesFor(job, state), Contains(VramMode::kUltraLow));
  job.attempts.back().end = AttemptEnd::kNodeNotReady;
  EXPECT_THAT(ModesFor(job, state), ElementsAre(VramMode::kStandard));
  EXPECT_FALSE(HasNodeLeft(state, job)) << "b holds lower modes alone";
}

}  // namespace
}  // namespace ovi::core
