// Reads a job as a user writes it: YAML with Ovi's own keys and the guide's, --set overrides on top, into a
// JobSpec. docs/job-config.md is the table of keys. Everything is validated here: later code need not look at
// ranges again.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/job/settings.h"

namespace ovi {

// INVALID_ARGUMENT (or what the disk says, for a prompt list) with one line, "job.yaml:7: seed must be ..."
// or
// "--set seed: must be ...". Relative paths of images, adapters and prompt lists in the file count from
// `base_dir` ("" = the current folder), those in --set from the current folder. Reads no file but the prompt
// list that text_prompt may name; images and adapters are checked by whoever opens them.
absl::StatusOr<JobSpec> ParseJob(std::string_view yaml_text, std::string_view source_name,
                                 const std::string& base_dir, const std::vector<Override>& overrides);

// The same for a file, with its folder as `base_dir`.
absl::StatusOr<JobSpec> LoadJob(const std::string& yaml_path, const std::vector<Override>& overrides);

}  // namespace ovi
