// A random cluster, random jobs, and everything that can go wrong for a while; then nothing goes wrong any
// more, and all must come to its end.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/sim/books.h"
#include "tests/sim/cluster.h"
#include "tests/sim/coordinator.h"
#include "tests/sim/event_queue.h"

namespace ovi::sim {

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed);

  // "" when all went well, else the first thing that was wrong.
  std::string Run();

  const std::map<std::string, int>& seen() const { return books_.seen(); }
  int event_count() const { return event_count_; }
  const core::State& state() const { return coordinator_.state(); }

 private:
  struct Client {
    core::JobRequest request;
    core::JobId job = 0;  // once it was told
  };

  static core::Policy MakePolicy(Random& random);
  static std::vector<core::MemoryNeed> MakeNeeds(std::int64_t bytes, std::int64_t reference_bytes,
                                                 int ranks_max);
  static std::vector<core::NodeFacts> MakeNodes(Random& random);
  static bool CouldRun(const core::NodeFacts& node, const core::ModelFacts& model,
                       const core::JobRequest& request);

  void Restart();
  void Tick();
  void NextFault();
  void BreakSomething();
  core::JobRequest MakeRequest();
  void Submit(const std::string& request_id);
  void SubmitSoon(const std::string& request_id, const core::JobRequest& request);
  void Heal();
  bool AllTold() const;
  bool AllEnded() const;
  bool Until(TimeMs limit, const std::function<bool()>& reached);
  void CheckEnd();

  Verdict verdict_;
  EventQueue queue_;
  Random random_;
  const core::Policy policy_;
  const bool events_come_late_;
  Cluster cluster_;
  Books books_;
  Coordinator coordinator_;
  std::map<std::string, Client> clients_;  // by request_id
  TimeMs healed_at_ = 0;                   // 0 while faults go on
  int event_count_ = 0;
};

}  // namespace ovi::sim
