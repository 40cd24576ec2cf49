// Who belongs to a group, on lists of processes as /proc tells them.
#include "worker/agent/process_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/subprocess.h"

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// keeper 100 (session 100) -> mpirun 101 -> ranks 102, 103; 103 -> 104, which made a session of its own ->
// 105. Another group: 200. Bystanders: 1, 50.
const std::vector<ProcessInfo> kProcesses = {{.pid = 1, .parent = 0, .session = 1, .state = 'S'},
                                             {.pid = 50, .parent = 1, .session = 50, .state = 'S'},
                                             {.pid = 100, .parent = 50, .session = 100, .state = 'S'},
                                             {.pid = 101, .parent = 100, .session = 100, .state = 'S'},
                                             {.pid = 102, .parent = 101, .session = 100, .state = 'R'},
                                             {.pid = 103, .parent = 101, .session = 100, .state = 'R'},
                                             {.pid = 104, .parent = 103, .session = 104, .state = 'S'},
                                             {.pid = 105, .parent = 104, .session = 104, .state = 'D'},
                                             {.pid = 106, .parent = 101, .session = 100, .state = 'Z'},
                                             {.pid = 200, .parent = 50, .session = 200, .state = 'S'}};

const auto kNoMark = [](pid_t) { return false; };

TEST(MembersUnder, AreAllThatDescendFromTheKeeperWhateverTheirSession) {
  EXPECT_THAT(MembersUnder(kProcesses, 100), ElementsAre(101, 102, 103, 104, 105));
  EXPECT_THAT(MembersUnder(kProcesses, 105), IsEmpty());
  EXPECT_THAT(MembersUnder(kProcesses, 999), IsEmpty());
}

TEST(MembersLeft, AreFoundBySessionOnceTheKeeperIsGone) {
  std::vector<ProcessInfo> left = kProcesses;
  std::erase_if(left, [](const ProcessInfo& process) { return process.pid == 100 || process.pid == 101; });
  for (ProcessInfo& process : left) {
    if (process.parent == 100 || process.parent == 101) process.parent = 50;  // adopted by the agent
  }
  EXPECT_THAT(MembersLeft(left, 100, kNoMark, 50), ElementsAre(102, 103, 104, 105));
}

TEST(MembersLeft, AreFoundByTheirMarkWhateverTheirSession) {
  const auto mark = [](pid_t pid) { return pid == 104 || pid == 50; };
  EXPECT_THAT(MembersLeft(kProcesses, 0, mark, 50), ElementsAre(104, 105)) << "but never the agent itself";
}

TEST(MembersLeft, AreNoneWithoutASessionOrAMark) {
  EXPECT_THAT(MembersLeft(kProcesses, 0, kNoMark, 50), IsEmpty());
}

TEST(WithDescendants, EndsEvenWhenParentsFormACircle) {
  const std::vector<ProcessInfo> processes = {
      {.pid = 2, .parent = 3}, {.pid = 3, .parent = 2}, {.pid = 4, .parent = 9}};
  EXPECT_THAT(WithDescendants(processes, {2, 7}), ElementsAre(2, 3));
}

TEST(ParseProcStat, ReadsTheLineWhateverTheNameHolds) {
  const char* const rest =
      " S 1 33 34 0 -1 4194560 2 0 0 0 3 1 0 0 20 0 1 0 1312690 16961536 3365 18446744073709551615\n";
  for (const char* name : {"(bash)", "(a b)", "(x) y) Z (", "()"}) {
    const auto info = ParseProcStat(std::string("77 ") + name + (name[1] == 'x' ? ")" : "") + rest);
    ASSERT_TRUE(info) << name;
    EXPECT_EQ(*info,
              (ProcessInfo{.pid = 77, .parent = 1, .session = 34, .state = 'S', .start_ticks = 1312690}))
        << name;
  }
}

TEST(ParseProcStat, RefusesAnythingElse) {
  for (const char* bad :
       {"", "77", "77 (a", "77 (a) S 1 2", "x (a) S 1 33 34 0 -1 4 2 0 0 0 3 1 0 0 20 0 1 0 13",
        "77 (a) S one 33 34 0 -1 4 2 0 0 0 3 1 0 0 20 0 1 0 13", ") ("}) {
    EXPECT_FALSE(ParseProcStat(bad)) << bad;
  }
}

TEST(ReadProcess, KnowsUsAndOurChildren) {
  const auto self = ReadProcess(::getpid());
  ASSERT_TRUE(self);
  EXPECT_EQ(self->parent, ::getppid());
  EXPECT_EQ(self->session, ::getsid(0));
  EXPECT_GT(self->start_ticks, 0);
  EXPECT_FALSE(ReadProcess(1 << 30));

  const std::string mark = GroupMark("/a/group");
  auto child = Subprocess::Start(
      {"sleep", "3600"}, {.own_session = true, .environment = std::vector<std::string>{"A=1", mark, "B=2"}});
  ASSERT_TRUE(child.ok()) << child.status();
  const pid_t pid = (*child)->pid();
  EXPECT_EQ(ReadProcess(pid)->session, pid);
  // Start returns when the old program is gone; the kernel shows the new one's environment a moment later.
  while (!HasEnvironment(pid, mark) && !(*child)->HasEnded()) std::this_thread::yield();
  EXPECT_TRUE(HasEnvironment(pid, mark));
  EXPECT_TRUE(HasEnvironment(pid, "B=2"));
  EXPECT_FALSE(HasEnvironment(pid, "B="));
  EXPECT_FALSE(HasEnvironment(pid, "PATH"));
  EXPECT_THAT(MembersUnder(ListProcesses(), ::getpid()), testing::Contains(pid));
  SendSignal({pid}, SIGTERM);
  EXPECT_EQ((*child)->Wait().signal, SIGTERM);
}

TEST(Subprocess, GivenUpIsNeitherKilledNorReaped) {
  pid_t pid = 0;
  {
    auto child = Subprocess::Start({"sleep", "3600"}, {.stderr_stream = StandardStream::kNull});
    ASSERT_TRUE(child.ok()) << child.status();
    pid = (*child)->Detach();
    EXPECT_TRUE((*child)->HasEnded()) << "for all this object knows";
  }
  const auto process = ReadProcess(pid);
  ASSERT_TRUE(process);
  EXPECT_NE(process->state, 'Z');
  ::kill(pid, SIGKILL);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

}  // namespace
}  // namespace ovi
