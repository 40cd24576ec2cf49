// nodes, drain, resume: the machines of the cluster.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "base/format.h"
#include "base/status.h"
#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/json.h"
#include "client/ovictl/node_view.h"
#include "client/ovictl/terminal.h"
#include "client/ovictl/words.h"

namespace ovi::client {
namespace {

absl::StatusOr<int> ListNodes(Session& session, bool quiet) {
  OVI_ASSIGN_OR_RETURN(const v1::ListNodesResponse response,
                       session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::ListNodes,
                                                v1::ListNodesRequest()));
  const std::vector<v1::Node> nodes(response.nodes().begin(), response.nodes().end());
  if (!session.json && !quiet) {
    std::fputs(NodeTable(nodes, CurrentScreen()).c_str(), stdout);
    return kExitDone;
  }
  for (const v1::Node& node : nodes) PrintLine(session.json ? JsonLine(node) : OneLine(node.name()));
  return kExitDone;
}

absl::StatusOr<int> ShowNode(Session& session, const std::string& name) {
  v1::GetNodeRequest request;
  request.set_name(name);
  OVI_ASSIGN_OR_RETURN(
      const v1::GetNodeResponse response,
      session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::GetNode, request));
  if (session.json) {
    PrintLine(JsonLine(response.node()));
  } else {
    std::fputs(NodeDetails(response.node(), NowMs(), CurrentScreen()).c_str(), stdout);
  }
  return kExitDone;
}

int PrintState(const Session& session, const v1::Node& node) {
  if (session.json) {
    PrintLine(JsonLine(node));
  } else {
    PrintLine(OneLine(node.name()) + " " + StateWord(node.state()));
  }
  return kExitDone;
}

absl::StatusOr<int> Drain(Session& session, const v1::DrainNodeRequest& request) {
  OVI_ASSIGN_OR_RETURN(
      const v1::DrainNodeResponse response,
      session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::DrainNode, request));
  return PrintState(session, response.node());
}

absl::StatusOr<int> Resume(Session& session, const v1::ResumeNodeRequest& request) {
  OVI_ASSIGN_OR_RETURN(
      const v1::ResumeNodeResponse response,
      session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::ResumeNode, request));
  return PrintState(session, response.node());
}

}  // namespace

void AddNodeCommands(Commands& commands) {
  struct NodesArguments {
    std::string name;
    bool quiet = false;
  };
  auto nodes = std::make_shared<NodesArguments>();
  CLI::App* nodes_command = commands.Add(
      "nodes", "The nodes and their GPUs; with NODE all that is known of one", [nodes](Session& session) {
        return nodes->name.empty() ? ListNodes(session, nodes->quiet) : ShowNode(session, nodes->name);
      });
  nodes_command->add_option("NODE", nodes->name, "name of a node");
  nodes_command->add_flag("-q,--quiet", nodes->quiet, "names only");

  auto drain = std::make_shared<v1::DrainNodeRequest>();
  CLI::App* drain_command = commands.Add("drain", "Start nothing new on a node; what runs there finishes",
                                         [drain](Session& session) { return Drain(session, *drain); });
  drain_command->add_option("NODE", *drain->mutable_name(), "node")->required();
  drain_command->add_option("--reason", *drain->mutable_reason(), "why, for the others")->required();

  auto resume = std::make_shared<v1::ResumeNodeRequest>();
  commands
      .Add("resume", "Use a drained node again",
           [resume](Session& session) { return Resume(session, *resume); })
      ->add_option("NODE", *resume->mutable_name(), "node")
      ->required();
}

}  // namespace ovi::client
