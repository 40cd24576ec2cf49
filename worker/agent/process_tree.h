// Which processes belong to a group, and how all of them are ended.
//
// A group is a session that its keeper leads. Open MPI gives each rank a process group of its own, so
// kill(-pgid) misses them; a rank may start helpers, and those may leave the session. While the keeper lives
// it is the subreaper of all of them, so its descendants are the group, whatever they do. Once it is gone
// they are told by their session or by the variable that every one of them inherited.
#pragma once

#include <sys/types.h>

#include <functional>
#include <set>
#include <span>
#include <string>

#include "base/process_info.h"

namespace ovi {

// OVI_GROUP_DIR=<dir>, in the environment of everything that a group starts.
std::string GroupMark(const std::string& group_dir);

// Descendants of the living keeper, without itself. Ended processes that nobody reaped yet are left out.
// Pure.
std::set<pid_t> MembersUnder(std::span<const ProcessInfo> processes, pid_t keeper);

// Of a group without its keeper: who is in the session, carries the mark, or descends from such a process.
// Never `self`. Pure but for has_mark(pid).
std::set<pid_t> MembersLeft(std::span<const ProcessInfo> processes, pid_t session,
                            const std::function<bool(pid_t)>& has_mark, pid_t self);

void SendSignal(const std::set<pid_t>& pids, int signal);

}  // namespace ovi
