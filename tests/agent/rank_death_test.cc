#include "worker/agent/rank_death.h"

#include <gtest/gtest.h>

#include <string>

namespace ovi {
namespace {

TEST(DescribeRankDeath, TakesWhatTheTableSays) {
  // As Open MPI 4.1.4 prints it.
  const std::string killed =
      "mpirun noticed that process rank 1 with PID 5122 on node box-1 exited on signal 9 (Killed).\n";
  const std::string frame(74, '-');
  const std::string exited =
      frame +
      "\nmpirun detected that one or more processes exited with non-zero status, thus causing\n"
      "the job to be terminated. The first process to do so was:\n\n  Process name: [[58325,1],3]\n"
      "  Exit code:    4\n" +
      frame + "\n";
  struct Row {
    const char* name;
    std::string output;
    std::string says;
  };
  const Row rows[] = {
      {"nothing", "", ""},
      {"a signal", frame + "\n" + killed + frame + "\n", "rank 1 died of signal 9 (Killed)"},
      {"an exit code", exited, "rank 3 ended with exit code 4"},
      {"after other words", "[1,0]<stderr>:hello\n" + killed, "rank 1 died of signal 9 (Killed)"},
      {"the first of two", killed + exited, "rank 1 died of signal 9 (Killed)"},
      {"another name of mpirun",
       "orterun noticed that process rank 12 with PID 0 on node b exited on signal 11 (Segmentation fault).",
       "rank 12 died of signal 11 (Segmentation fault)"},
      {"no name of the signal", "mpirun noticed that process rank 0 with PID 1 on node b exited on signal 64",
       "rank 0 died of signal 64"},
      {"a rank that prints the same", "[1,0]<stdout>:" + killed, ""},
      {"no rank", "mpirun noticed that process rank x with PID 1 on node b exited on signal 9 (Killed).", ""},
      {"no signal", "mpirun noticed that process rank 1 with PID 1 on node b went away", ""},
      {"a number beyond all",
       "mpirun noticed that process rank 99999999999 with PID 1 on node b exited on signal 9 (Killed).", ""},
      {"a negative one", "mpirun noticed that process rank -1 with PID 1 on node b exited on signal 9.", ""},
      {"an exit code of nobody", "  Exit code:    4\n", ""},
      {"a process of another kind", "  Process name: [[58325,0],0]\n  Exit code:    4\n", ""},
      {"bytes that are no text",
       "mpirun noticed that process rank 1 with PID 1 on node b exited on signal 9 (\x1b[31m).",
       "rank 1 died of signal 9 (\\x1b[31m)"},
      {"a long name",
       "mpirun noticed that process rank 1 with PID 1 on node b exited on signal 9 (" +
           std::string(999, 'a') + ").",
       "rank 1 died of signal 9 (" + std::string(40, 'a') + ")"},
  };
  for (const Row& row : rows) EXPECT_EQ(DescribeRankDeath(row.output), row.says) << row.name;
}

}  // namespace
}  // namespace ovi
