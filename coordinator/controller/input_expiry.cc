#include "coordinator/controller/input_expiry.h"

#include "ovi/v1/job.pb.h"

namespace ovi {
namespace {

void AddInput(const core::Job& job, std::set<std::string>& inputs) {
  v1::JobSpec spec;
  if (spec.ParseFromString(job.spec) && !spec.first_frame_sha256().empty())
    inputs.insert(spec.first_frame_sha256());
}

}  // namespace

std::set<std::string> InputsInUse(const core::State& state) {
  std::set<std::string> inputs;
  for (const core::QueueKey& key : state.queue) AddInput(state.jobs.at(key.job), inputs);
  for (const core::JobId id : state.active) AddInput(state.jobs.at(id), inputs);
  return inputs;
}

}  // namespace ovi
