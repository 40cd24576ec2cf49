#include "worker/agent/process_tree.h"

#include <signal.h>

namespace ovi {
namespace {

void EraseEnded(std::span<const ProcessInfo> processes, std::set<pid_t>& pids) {
  for (const ProcessInfo& process : processes) {
    if (process.state == 'Z' || process.state == 'X') pids.erase(process.pid);
  }
}

}  // namespace

std::string GroupMark(const std::string& group_dir) {
  return "OVI_GROUP_DIR=" + group_dir;
}

std::set<pid_t> MembersUnder(std::span<const ProcessInfo> processes, pid_t keeper) {
  std::set<pid_t> members = WithDescendants(processes, {keeper});
  members.erase(keeper);
  EraseEnded(processes, members);
  return members;
}

std::set<pid_t> MembersLeft(std::span<const ProcessInfo> processes, pid_t session,
                            const std::function<bool(pid_t)>& has_mark, pid_t self) {
  std::set<pid_t> roots;
  for (const ProcessInfo& process : processes) {
    if (process.pid == self) continue;
    if ((session > 0 && process.session == session) || has_mark(process.pid)) roots.insert(process.pid);
  }
  std::set<pid_t> members = WithDescendants(processes, roots);
  members.erase(self);
  EraseEnded(processes, members);
  return members;
}

void SendSignal(const std::set<pid_t>& pids, int signal) {
  for (const pid_t pid : pids) ::kill(pid, signal);
}

}  // namespace ovi
