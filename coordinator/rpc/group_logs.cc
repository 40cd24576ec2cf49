#include "coordinator/rpc/group_logs.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

absl::Status Away(const std::string& node) {
  return absl::UnavailableError(absl::StrCat("node ", node, ", which keeps this output, is not connected"));
}

}  // namespace

std::uint64_t GroupLogs::Fetch(const std::string& node, const std::string& instance, const std::string& group,
                               std::int64_t bytes_max, Reply reply) {
  std::uint64_t request = 0;
  {
    const std::lock_guard lock(mutex_);
    request = ++last_request_;
    waiting_.emplace(request, Waiting{.node = node, .instance = instance, .reply = std::move(reply)});
  }
  v1::NodeCommand command;
  v1::FetchGroupLog& fetch = *command.mutable_fetch_group_log();
  fetch.set_request_id(absl::StrCat(request));
  fetch.set_group_id(group);
  fetch.set_bytes_max(bytes_max);
  // An agent that goes away from here on is told by OnAgentGone.
  if (!peers_.SendToAgent(node, instance, std::move(command))) OnAgentGone(node, instance);
  return request;
}

bool GroupLogs::Forget(std::uint64_t request) {
  const std::lock_guard lock(mutex_);
  return waiting_.erase(request) != 0;
}

void GroupLogs::OnGroupLog(const std::string& node, const std::string& instance, const v1::GroupLog& log) {
  Reply reply;
  {
    const std::lock_guard lock(mutex_);
    std::uint64_t request = 0;
    if (!absl::SimpleAtoi(log.request_id(), &request)) return;
    const auto found = waiting_.find(request);
    // An answer that comes too late, or from an agent that was not asked.
    if (found == waiting_.end() || found->second.node != node || found->second.instance != instance) return;
    reply = std::move(found->second.reply);
    waiting_.erase(found);
  }
  if (log.found()) {
    reply(log.text());
  } else {
    reply(absl::NotFoundError(absl::StrCat("node ", node, " keeps no output of this group any longer")));
  }
}

void GroupLogs::OnAgentGone(const std::string& node, const std::string& instance) {
  std::vector<Reply> replies;
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = waiting_.begin(); entry != waiting_.end();) {
      if (entry->second.node != node || entry->second.instance != instance) {
        ++entry;
        continue;
      }
      replies.push_back(std::move(entry->second.reply));
      entry = waiting_.erase(entry);
    }
  }
  for (const Reply& reply : replies) reply(Away(node));
}

}  // namespace ovi
