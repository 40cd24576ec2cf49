// Simulated time, and all chance of a simulation: one seed, one course of events.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <utility>
#include <vector>

#include "coordinator/core/types.h"

namespace ovi::sim {

using core::TimeMs;

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // 0 .. count - 1. The distributions of the standard library differ between implementations; this does not.
  std::int64_t Below(std::int64_t count) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(count));
  }
  std::int64_t Between(std::int64_t first, std::int64_t last) { return first + Below(last - first + 1); }
  bool Chance(double probability) { return static_cast<double>(Below(1'000'000)) < probability * 1e6; }
  template <typename T>
  const T& Of(const std::vector<T>& values) {
    return values[static_cast<std::size_t>(Below(static_cast<std::int64_t>(values.size())))];
  }

 private:
  std::mt19937_64 engine_;
};

class EventQueue {
 public:
  TimeMs now() const { return now_; }

  // Of equal times, what was planned first happens first.
  void At(TimeMs at, std::function<void()> action) {
    waiting_.push({std::max(at, now_), next_++, std::move(action)});
  }
  void After(TimeMs ms, std::function<void()> action) { At(now_ + ms, std::move(action)); }

  // False when nothing is left to happen.
  bool RunNext() {
    if (waiting_.empty()) return false;
    const Planned planned = waiting_.top();
    waiting_.pop();
    now_ = planned.at;
    planned.action();
    return true;
  }

 private:
  struct Planned {
    TimeMs at;
    std::uint64_t number;
    std::function<void()> action;
    bool operator<(const Planned& other) const {
      return std::pair(at, number) > std::pair(other.at, other.number);
    }
  };

  TimeMs now_ = 1'000'000;
  std::uint64_t next_ = 0;
  std::priority_queue<Planned> waiting_;
};

// What is wrong, the first of it.
class Verdict {
 public:
  void Wrong(std::string what) {
    if (first_.empty()) first_ = std::move(what);
  }
  bool ok() const { return first_.empty(); }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

}  // namespace ovi::sim
