#include "tests/sim/trace.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/retry.h"

namespace ovi::sim {
namespace {

std::string Name(const core::AttemptRef& ref) {
  return absl::StrCat(ref.job, ".", ref.attempt);
}

struct Words {
  // Events
  std::string operator()(const core::JobsSubmitted& e) const {
    std::string out = "JobsSubmitted";
    for (const core::JobSubmitted& job : e.jobs) absl::StrAppend(&out, " ", job.request_id);
    return out;
  }
  std::string operator()(const core::CancelAsked& e) const { return absl::StrCat("CancelAsked ", e.job); }
  std::string operator()(const core::NodeConnected& e) const {
    std::string out = absl::StrCat("NodeConnected ", e.facts.instance_id);
    for (const core::GroupFound& group : e.groups) absl::StrAppend(&out, " ", group.group);
    return out;
  }
  std::string operator()(const core::NodeReported& e) const {
    return absl::StrCat("NodeReported ", e.instance_id);
  }
  std::string operator()(const core::NodeDisconnected& e) const {
    return absl::StrCat("NodeDisconnected ", e.instance_id);
  }
  std::string operator()(const core::DrainAsked& e) const { return absl::StrCat("DrainAsked ", e.node); }
  std::string operator()(const core::ResumeAsked& e) const { return absl::StrCat("ResumeAsked ", e.node); }
  std::string operator()(const core::GroupExited& e) const {
    return absl::StrCat("GroupExited ", e.group, " launched ", e.launched, " code ", e.exit_code);
  }
  std::string operator()(const core::GroupAttached& e) const {
    return absl::StrCat("GroupAttached ", e.group.group, " running ", Name(e.running));
  }
  std::string operator()(const core::GroupDetached& e) const {
    return absl::StrCat("GroupDetached ", e.group);
  }
  std::string operator()(const core::AttemptProgressed& e) const {
    return absl::StrCat("AttemptProgressed ", e.group, " ", Name(e.attempt));
  }
  std::string operator()(const core::ArtifactBegun& e) const {
    return absl::StrCat("ArtifactBegun ", e.group, " ", Name(e.attempt));
  }
  std::string operator()(const core::AttemptReported& e) const {
    return absl::StrCat("AttemptReported ", e.group, " ", Name(e.attempt), " ", core::ToString(e.end));
  }
  std::string operator()(const core::Tick& /*e*/) const { return "Tick"; }

  // Changes
  std::string operator()(const core::JobAdded& c) const { return absl::StrCat("JobAdded ", c.job); }
  std::string operator()(const core::AttemptStarted& c) const {
    return absl::StrCat("AttemptStarted ", Name(c.attempt), " on ", c.group, " ", c.node, ":",
                        absl::StrJoin(c.gpu_indices, ","), c.warm ? " warm" : "");
  }
  std::string operator()(const core::AttemptAdvanced& c) const {
    return absl::StrCat("AttemptAdvanced ", Name(c.attempt), " ", core::ToString(c.state));
  }
  std::string operator()(const core::AttemptEnded& c) const {
    return absl::StrCat("AttemptEnded ", Name(c.attempt), " ", core::ToString(c.end), " ", c.message);
  }
  std::string operator()(const core::JobFinished& c) const {
    return absl::StrCat("JobFinished ", c.job, " ", core::ToString(c.state));
  }
  std::string operator()(const core::CancelRequested& c) const {
    return absl::StrCat("CancelRequested ", c.job);
  }
  std::string operator()(const core::JobForgotten& c) const { return absl::StrCat("JobForgotten ", c.job); }
  std::string operator()(const core::NodeDrained& c) const { return absl::StrCat("NodeDrained ", c.node); }
  std::string operator()(const core::NodeResumed& c) const { return absl::StrCat("NodeResumed ", c.node); }

  // Decisions
  std::string operator()(const core::StartGroup& d) const {
    return absl::StrCat("StartGroup ", d.group, " ", d.node, ":", absl::StrJoin(d.gpu_indices, ","));
  }
  std::string operator()(const core::StopGroup& d) const { return absl::StrCat("StopGroup ", d.group); }
  std::string operator()(const core::RunAttempt& d) const {
    return absl::StrCat("RunAttempt ", d.group, " ", Name(d.attempt));
  }
  std::string operator()(const core::CancelAttempt& d) const {
    return absl::StrCat("CancelAttempt ", d.group, " ", Name(d.attempt));
  }
  std::string operator()(const core::AcknowledgeAttempt& d) const {
    return absl::StrCat("AcknowledgeAttempt ", d.group, " ", Name(d.attempt));
  }
  std::string operator()(const core::DropUploads& d) const {
    return absl::StrCat("DropUploads ", Name(d.attempt));
  }
  std::string operator()(const core::DeleteJobFiles& d) const {
    return absl::StrCat("DeleteJobFiles ", d.job);
  }
};

}  // namespace

std::string Describe(const core::Event& event) {
  return absl::StrCat(event.at, " ", std::visit(Words{}, event.what));
}
std::string Describe(const core::Change& change) {
  return std::visit(Words{}, change);
}
std::string Describe(const core::Decision& decision) {
  return std::visit(Words{}, decision);
}

}  // namespace ovi::sim
