// The keeper of a group: a small process between the agent and the group's leader, which is mpirun or the
// only rank: `ovi-agent keep-group DIR LEADER ARGUMENT...`. It starts the leader, keeps the end of what the
// ranks print, and when the leader is gone ends whatever it left behind and writes down how it went. It needs
// no agent for that, so groups survive an agent that is killed, and the next one learns their exit codes.
// What kills the keeper kills the leader (PR_SET_PDEATHSIG).
//
// It ignores SIGTERM: to stop a group one signals its processes (process_tree.h), and the keeper reports.
#pragma once

#include <string>
#include <vector>

namespace ovi {

// Descriptors that the agent hands to it.
inline constexpr int kKeeperLockFd = 3;  // of <dir>/lock, locked
inline constexpr int kKeeperStatusFd =
    4;  // a pipe: the keeper writes the leader's pid and a newline once it runs, and closes it

// The whole life of a keeper; returns its exit code. Call it first thing in main: it wants no other threads.
int KeepGroup(const std::string& dir, const std::vector<std::string>& leader_argv);

}  // namespace ovi
