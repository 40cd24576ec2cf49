// Agents and groups as processes: what really happens on the nodes, whatever the coordinator believes.
// Streams keep their order, take time, break, and are dialled again; what was under way when one broke is
// lost. Now and then an event reaches the coordinator once more, much later.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/advance.h"
#include "tests/sim/coordinator.h"
#include "tests/sim/event_queue.h"

namespace ovi::sim {

using core::AttemptRef;
using core::GroupId;

constexpr TimeMs kLateMax = 30'000;  // for an event to come a second time

// How often what goes wrong, each a probability at the moment where it could.
struct Faults {
  double launch_fails = 0;
  double launch_hangs = 0;
  double attempt_fails = 0;  // and says so
  double attempt_stalls = 0;
  double rank_dies = 0;   // a step of work
  double told_again = 0;  // an event comes a second time
};

struct Link {
  bool up = false;
  bool introduced = false;  // its hello has arrived: before, orders go to the stream before
  int epoch = 0;            // of connections
  TimeMs to_coordinator_at = 0, to_peer_at = 0;  // the last message under way arrives then
  TimeMs hangs_until = 0;                        // the peer is not answering
  std::optional<EventKind> end_untold;  // the coordinator has not noticed yet that the connection broke
};

// What a group has on its hands until the coordinator acknowledges it.
struct Hand {
  AttemptRef attempt;
  int steps_left = 0;
  bool cancelled = false;
  bool stalled = false;
  std::optional<core::AttemptReported> report;  // it has ended
};

struct RealGroup {
  core::GroupFound facts;
  std::string node;
  TimeMs dials_since = 0;
  std::optional<Hand> hand;
  std::set<AttemptRef> acknowledged;
};

struct RealNode {
  core::NodeFacts facts;
  bool agent_lives = true;
  bool cut_off = false;                 // from the network
  std::map<GroupId, RealGroup> groups;  // alive
  std::vector<core::GroupExited> exits_untold;
  std::map<GroupId, core::StartGroup> ordered;  // under way to its agent
};

class Cluster {
 public:
  Cluster(EventQueue& queue, Random& random, Verdict& verdict, std::vector<core::NodeFacts> nodes);
  void SetCoordinator(Coordinator& coordinator) { coordinator_ = &coordinator; }
  void SetFaults(const Faults& faults) { faults_ = faults; }
  // Everybody dials, and agents begin to report.
  void Begin();

  void CarryOut(const core::Decision& decision);

  // What goes wrong, or right again.
  void BreakAllLinks();
  void BreakAgentLink(const std::string& node);
  void BreakGroupLink(const std::string& node, const GroupId& group);
  void KillGroup(const std::string& node, const GroupId& group, int exit_code, int signal);
  void KillAgent(const std::string& node);  // its groups go on
  void KillNode(const std::string& node);
  void StartAgent(const std::string& node);
  void CutOff(const std::string& node);
  void Reconnect(const std::string& node);
  void Hang(const std::string& node, TimeMs ms);  // its agent, with its connection open

  std::map<std::string, RealNode>& nodes() { return nodes_; }
  const std::set<AttemptRef>& uploads() const { return uploads_; }  // complete on the coordinator's disk
  // Of a GPU, as the agent that the coordinator accepted told it last.
  std::int64_t BytesForeignTold(const std::string& node, int index) const;

 private:
  RealGroup* FindGroup(const std::string& node, const GroupId& group);
  TimeMs Latency() { return random_.Between(1, random_.Chance(0.05) ? 2'000 : 60); }

  // Of an agent by its node's name, of a group by its id. They outlive their peers, so that what is under way
  // finds them.
  Link& LinkOf(const std::string& peer) { return links_[peer]; }
  void Send(Link& link, EventKind event, Coordinator::Reply reply = nullptr);
  void Deliver(const EventKind& event, const Coordinator::Reply& reply);
  void Connect(Link& link);
  void Break(Link& link, EventKind end);
  void TellEnd(Link& link, int epoch);
  bool HearsOrders(const std::string& node);
  void OrderAgent(const std::string& node, std::function<void(RealNode&)> order);
  void OrderGroup(const GroupId& group, std::function<void(RealGroup&)> order);

  void DialAgent(const std::string& node, const std::string& instance);
  void Report(const std::string& node, const std::string& instance, int epoch);
  void Launch(RealNode& node, const core::StartGroup& order);
  void TellExit(RealNode& node, const core::GroupExited& exited);

  void DialGroup(const std::string& node, const GroupId& group);
  void Run(RealGroup& group, const AttemptRef& attempt);
  void Work(const std::string& node, const GroupId& group, const AttemptRef& attempt);
  void Upload(const std::string& node, const GroupId& group, const AttemptRef& attempt);
  void EndHand(RealGroup& group, core::AttemptEnd end);

  EventQueue& queue_;
  Random& random_;
  Verdict& verdict_;
  Coordinator* coordinator_ = nullptr;
  Faults faults_;
  std::map<std::string, RealNode> nodes_;
  std::map<std::string, Link> links_;
  std::set<AttemptRef> uploads_;
  std::map<std::pair<std::string, int>, std::int64_t> foreign_told_;  // by instance and index
  int instances_ = 0;
};

}  // namespace ovi::sim
