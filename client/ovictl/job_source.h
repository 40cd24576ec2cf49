// The job that `submit` and `plan` are given: a YAML, a list of prompts, a prompt on the command line.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"

namespace CLI {
class App;
}

namespace ovi::client {

struct JobSource {
  std::string prompt;
  std::string config;  // job YAML
  std::string csv;     // list of prompts
  std::string model;   // model_name
  std::string max_vram;
  std::vector<std::string> sets;  // key=value
};

void AddJobSourceOptions(CLI::App& command, JobSource& source);

// INVALID_ARGUMENT, whatever is wrong. --csv, --model, --max-vram and the prompt count as --set of their
// keys, before those that are given as --set.
absl::StatusOr<JobSpec> ReadJobSource(const JobSource& source);

}  // namespace ovi::client
