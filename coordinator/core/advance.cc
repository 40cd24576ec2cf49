#include "coordinator/core/advance.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/core/step.h"

namespace ovi::core {

void Step::Record(Change change) {
  OVI_CHECK(Apply(state_, change).ok());
  struct JobOf {
    JobId operator()(const AttemptStarted& what) const { return what.attempt.job; }
    JobId operator()(const AttemptAdvanced& what) const { return what.attempt.job; }
    JobId operator()(const AttemptEnded& what) const { return what.attempt.job; }
    JobId operator()(const NodeDrained&) const { return 0; }
    JobId operator()(const NodeResumed&) const { return 0; }
    JobId operator()(const JobAdded& what) const { return what.job; }
    JobId operator()(const JobFinished& what) const { return what.job; }
    JobId operator()(const CancelRequested& what) const { return what.job; }
    JobId operator()(const JobForgotten& what) const { return what.job; }
  };
  if (const JobId job = std::visit(JobOf{}, change); job != 0) Touch(job);
  outcome_.changes.push_back(std::move(change));
}

void Step::Order(Decision decision) {
  outcome_.decisions.push_back(std::move(decision));
}

Outcome Step::Finish() {
  std::vector<JobId>& touched = outcome_.touched;
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  return std::move(outcome_);
}

Outcome Advance(State& state, const Event& event) {
  Step step(state, event.at);
  std::visit([&step](const auto& what) { Handle(step, what); }, event.what);
  return step.Finish();
}

}  // namespace ovi::core
