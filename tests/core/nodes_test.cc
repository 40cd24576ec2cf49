// Nodes as they come, go and come back, and what an operator does to them.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class NodeTest : public CoreTest {
 protected:
  NodeFacts Again(const std::string& name, const std::vector<std::int64_t>& gpus,
                  const std::string& instance) {
    NodeFacts node = Box(name, gpus);
    node.instance_id = instance;
    return node;
  }
  GroupFound Found(const GroupId& id) { return FactsOf(state_.groups.at(id)); }
};

TEST_F(NodeTest, GetsTheJobsThatWaitForIt) {
  const JobId id = Submit(Single());
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Connect(Box("box-1", {8}));
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(NodeTest, IsRefusedWhileAnotherLivingAgentHasItsName) {
  Connect(Box("box-1", {8}));
  const NodeFacts other = Again("box-1", {8, 8}, "other");
  EXPECT_EQ(Do(NodeConnected{.facts = other}).reply.status(),
            absl::AlreadyExistsError("another agent of the name box-1 is connected"));
  EXPECT_EQ(state_.nodes.at("box-1").facts.gpus.size(), 1u);
  // What the refused one says goes nowhere.
  EXPECT_FALSE(Do(NodeReported{.node = "box-1", .instance_id = "other", .gpus = other.gpus}).reply.ok());
  Do(NodeDisconnected{.node = "box-1", .instance_id = "other"});
  EXPECT_TRUE(state_.nodes.at("box-1").connected);
  EXPECT_EQ(state_.nodes.at("box-1").facts.gpus.size(), 1u);
}

TEST_F(NodeTest, IsTakenFromAnAgentThatIsGoneOrSilentOrTheSame) {
  Connect(Box("box-1", {8}));
  Lose("box-1");
  Connect(Again("box-1", {8}, "second"));
  Wait(state_.policy.node_silence_ms_max - 1);
  EXPECT_FALSE(Do(NodeConnected{.facts = Again("box-1", {8}, "third")}).reply.ok());
  Wait(1);
  Connect(Again("box-1", {8}, "third"));
  Connect(Again("box-1", {8}, "third"));
}

TEST_F(NodeTest, GetsNothingWhileItIsAway) {
  Connect(Box("box-1", {8}));
  Lose("box-1");
  EXPECT_EQ(StateOf(Submit(Single())), JobState::kPending);
}

TEST_F(NodeTest, GetsNothingWhileItIsSilentAndComesBackWhenHeard) {
  Connect(Box("box-1", {8}));
  TickAfter(state_.policy.node_silence_ms_max);
  EXPECT_FALSE(state_.nodes.at("box-1").connected);
  const JobId id = Submit(Single());
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Hear("box-1");
  EXPECT_TRUE(state_.nodes.at("box-1").connected);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(NodeTest, GetsWhatFitsOnceOthersLeaveItsMemory) {
  NodeFacts node = Box("box-1", {8});
  node.gpus[0].bytes_foreign = 3;
  Connect(node);
  const JobId id = Submit(Single());
  EXPECT_EQ(StateOf(id), JobState::kPending);
  node.gpus[0].bytes_foreign = 2;
  Do(NodeReported{.node = "box-1", .instance_id = "box-1#1", .gpus = node.gpus});
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(NodeTest, StopsIdleGroupsOnAGpuThatIsFaulty) {
  Connect(Box("box-1", {8}));
  const GroupId group = Warm(Single());
  std::vector<GpuFacts> gpus = state_.nodes.at("box-1").facts.gpus;
  gpus[0].faulty = true;
  Do(NodeReported{.node = "box-1", .instance_id = "box-1#1", .gpus = gpus});
  EXPECT_TRUE(Ordered<StopGroup>(group));
}

TEST_F(NodeTest, KeepsItsGroupsWhenItsAgentIsRestarted) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Lose("box-1");
  Progressed("g1-1", Ref(id), 2);
  Connect(Again("box-1", {8}, "second"), {Found("g1-1")});
  EXPECT_THAT(outcome_.changes, IsEmpty());
  EXPECT_TRUE(state_.groups.at("g1-1").seen_by_agent);
  Report("g1-1", Ref(id), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
}

TEST_F(NodeTest, LetsAGroupFinishWhileItsAgentIsAwayAndThenStopsIt) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Lose("box-1");
  for (int second = 0; second < 100; ++second) {
    Progressed("g1-1", Ref(id), second);
    TickAfter(1'000);
    ASSERT_EQ(StateOf(id), JobState::kRunning);
  }
  Report("g1-1", Ref(id), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
  TickAfter(200);
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(NodeTest, KeepsAWarmGroupOverAQuickRestartOfItsAgent) {
  Connect(Box("box-1", {8}));
  const GroupId group = Warm(Single());
  Lose("box-1");
  TickAfter(state_.policy.reconnect_ms_max - 1);
  EXPECT_FALSE(Ordered<StopGroup>(group));
  Connect(Again("box-1", {8}, "second"), {Found(group)});
  EXPECT_TRUE(Ordered<RunAttempt>(group) || Submit(Single()) == 2);
  EXPECT_TRUE(Ordered<RunAttempt>(group));
}

TEST_F(NodeTest, EndsAttemptsWhoseGroupsAreGoneWhenItComesBack) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Lose("box-1");
  Do(GroupDetached{.group = "g1-1"});
  Connect(Again("box-1", {8}, "second"));
  EXPECT_EQ(JobOf(id).attempts[0].end, AttemptEnd::kWorkerCrash);
  EXPECT_EQ(JobOf(id).attempts[0].message, "group g1-1 ended, nobody saw how");
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);  // again, at once: the memory is free
}

TEST_F(NodeTest, ForgetsIdleGroupsThatAreGoneWhenItComesBack) {
  Connect(Box("box-1", {8}));
  const GroupId group = Warm(Single());
  Do(GroupDetached{.group = group});
  Connect(Again("box-1", {8}, "box-1#1"));
  EXPECT_THAT(state_.groups, IsEmpty());
  EXPECT_EQ(BytesFreeOf("box-1"), 8);
}

TEST_F(NodeTest, BelievesAGroupsOwnStreamMoreThanItsAgent) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Lose("box-1");
  Connect(Again("box-1", {8}, "second"));
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  EXPECT_EQ(BytesFreeOf("box-1"), 2);
}

TEST_F(NodeTest, FailsTheLaunchWhoseOrderWasLostAndKeepsTheMemoryUntilTheAgentAnswers) {
  Connect(Box("box-1", {8}));
  const JobId id = Submit(Single());
  Lose("box-1");
  Connect(Again("box-1", {8}, "box-1#1"));
  EXPECT_EQ(JobOf(id).attempts[0].end, AttemptEnd::kLaunchFailed);
  EXPECT_THAT(JobOf(id).attempts[0].message, HasSubstr("the order to start it was lost"));
  // The order may still be in the agent's queue: nothing else goes there before its answer.
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Do(GroupExited{.node = "box-1", .group = "g1-1"});
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_EQ(GroupOf(id), "g1-2");
}

TEST_F(NodeTest, ReservesForGroupsItFindsAndStopsThoseThatDoNotAttach) {
  Connect(Box("box-1", {8}),
          {{.group = "g8-1", .gpu_indices = {0}, .bytes_per_rank = 6, .model_name = "mini"}});
  EXPECT_EQ(BytesFreeOf("box-1"), 2);
  const JobId id = Submit(Single("other"));
  // Idle, for all we know: it must make room.
  EXPECT_TRUE(Ordered<StopGroup>("g8-1"));
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Exit("g8-1", 0);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(NodeTest, StopsAFoundGroupThatNeverAttaches) {
  Connect(Box("box-1", {8}),
          {{.group = "g8-1", .gpu_indices = {0}, .bytes_per_rank = 6, .model_name = "mini"}});
  for (int second = 0; second < 19; ++second) {
    Hear("box-1");
    TickAfter(1'000);
  }
  EXPECT_FALSE(Ordered<StopGroup>("g8-1"));
  Hear("box-1");
  TickAfter(1'000);
  EXPECT_TRUE(Ordered<StopGroup>("g8-1"));
}

TEST_F(NodeTest, IsToldAgainToStopWhatWasStopped) {
  Connect(Box("box-1", {8}));
  Do(CancelAsked{.job = Submit(Single())});
  Connect(Again("box-1", {8}, "box-1#1"), {Found("g1-1")});
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(NodeTest, MustSayHelloOnceGroupsOnItWereForgotten) {
  Connect(Box("box-1", {8}));
  Do(CancelAsked{.job = Submit(Single())});
  Lose("box-1");
  TickAfter(state_.policy.stop_ms_max);
  EXPECT_THAT(state_.groups, IsEmpty());
  const JobId id = Submit(Single());
  const NodeFacts facts = state_.nodes.at("box-1").facts;
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Do(NodeReported{.node = "box-1", .instance_id = facts.instance_id, .gpus = facts.gpus})
          .reply.status()));
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Connect(facts);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

class DrainTest : public CoreTest {
 protected:
  void SetUp() override { Connect(Box("box-1", {8})); }
  const Outcome& Drain(const std::string& node) { return Do(DrainAsked{.node = node, .reason = "fan"}); }
};

TEST_F(DrainTest, KeepsNewAttemptsAwayUntilTheNodeIsResumed) {
  EXPECT_TRUE(Drain("box-1").reply.ok());
  EXPECT_EQ(state_.drained.at("box-1"), "fan");
  const JobId id = Submit(Single());
  EXPECT_EQ(StateOf(id), JobState::kPending);
  EXPECT_TRUE(Do(ResumeAsked{.node = "box-1"}).reply.ok());
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(DrainTest, StopsIdleGroupsAndLetsBusyOnesFinish) {
  const GroupId idle = Warm(Single());
  Drain("box-1");
  EXPECT_TRUE(Ordered<StopGroup>(idle));
  Exit(idle, 0);
  Do(ResumeAsked{.node = "box-1"});
  const JobId id = Running(Single());
  Drain("box-1");
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  Report(GroupOf(id), Ref(id), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
  TickAfter(200);
  EXPECT_TRUE(Ordered<StopGroup>(GroupOf(id)));
}

TEST_F(DrainTest, IsHarmlessTwiceAndUnknownToOtherNodes) {
  Drain("box-1");
  EXPECT_THAT(Drain("box-1").changes, IsEmpty());
  Do(ResumeAsked{.node = "box-1"});
  EXPECT_THAT(Do(ResumeAsked{.node = "box-1"}).changes, IsEmpty());
  EXPECT_TRUE(outcome_.reply.ok());
  EXPECT_TRUE(absl::IsNotFound(Drain("box-2").reply.status()));
  EXPECT_TRUE(absl::IsNotFound(Do(ResumeAsked{.node = "box-2"}).reply.status()));
}

TEST_F(DrainTest, SurvivesARestartBeforeTheNodeIsBack) {
  Drain("box-1");
  Restart();
  EXPECT_TRUE(Do(ResumeAsked{.node = "box-1"}).reply.ok());
  EXPECT_THAT(state_.drained, IsEmpty());
}

}  // namespace
}  // namespace ovi::core
