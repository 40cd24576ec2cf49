// The part of a State that a journal must give back.
#pragma once

#include <algorithm>
#include <set>
#include <string>

#include "coordinator/core/state.h"

namespace ovi::core {

// Two states' durable parts: "" when they are equal, else what differs first. Asks every job.
inline std::string DurableDifference(const State& a, const State& b) {
  const auto without_volatile = [](Job job) {
    job.progress = {};
    job.last_sign_at = 0;
    if (Attempt* attempt = job.current()) attempt->memory.clear();
    return job;
  };
  if (a.jobs.size() != b.jobs.size()) return "number of jobs";
  for (auto left = a.jobs.begin(), right = b.jobs.begin(); left != a.jobs.end(); ++left, ++right) {
    if (left->first != right->first || without_volatile(left->second) != without_volatile(right->second)) {
      return "job " + std::to_string(left->first);
    }
  }
  const auto same_queue = [](const std::set<QueueKey>& x, const std::set<QueueKey>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](const QueueKey& k, const QueueKey& l) { return !(k < l) && !(l < k); });
  };
  if (a.request_ids != b.request_ids) return "request_ids";
  if (a.drained != b.drained) return "drained";
  if (a.next_job != b.next_job) return "next_job";
  if (!same_queue(a.queue, b.queue)) return "queue";
  if (a.active != b.active) return "active";
  if (a.finished != b.finished) return "finished";
  if (a.not_ready != b.not_ready) return "not_ready";
  return "";
}

}  // namespace ovi::core
