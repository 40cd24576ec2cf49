#include "client/ovictl/job_source.h"

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "client/ovictl/errors.h"
#include "worker/job/parse_job.h"

namespace ovi::client {
namespace {

absl::StatusOr<std::vector<Override>> OverridesOf(const JobSource& source) {
  std::vector<Override> overrides;
  if (!source.prompt.empty()) overrides.push_back({"text_prompt", source.prompt});
  if (!source.csv.empty()) overrides.push_back({"text_prompt", source.csv});
  if (!source.model.empty()) overrides.push_back({"model_name", source.model});
  if (!source.max_vram.empty()) overrides.push_back({"max_vram", source.max_vram});
  for (const std::string& set : source.sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--set ", set, ": expected key=value"));
    }
    overrides.push_back({set.substr(0, equals), set.substr(equals + 1)});
  }
  return overrides;
}

}  // namespace

void AddJobSourceOptions(CLI::App& command, JobSource& source) {
  command.add_option("PROMPT", source.prompt, "what to draw, in place of the job's text_prompt");
  command.add_option("--config", source.config, "job YAML (docs/job-config.md)");
  command.add_option("--csv", source.csv,
                     "list of prompts (.csv or .tsv), in place of the job's text_prompt");
  command.add_option("--model", source.model, "model_name, such as mini-ovi");
  command.add_option("--max-vram", source.max_vram,
                     "most that the job may take of each GPU, such as 8GiB; in place of the job's max_vram");
  command.add_option("--set", source.sets, "key=value, overrides the job's YAML; may be repeated")
      ->allow_extra_args(false);
}

absl::StatusOr<JobSpec> ReadJobSource(const JobSource& source) {
  if (source.prompt.empty() && source.config.empty() && source.csv.empty()) {
    return absl::InvalidArgumentError(
        "nothing to draw: give --config job.yaml, --csv prompts.csv or a prompt");
  }
  if (!source.prompt.empty() && !source.csv.empty()) {
    return absl::InvalidArgumentError(
        "--csv: there is a prompt on the command line too; give one of the two");
  }
  if (!source.csv.empty() && !absl::EndsWithIgnoreCase(source.csv, ".csv") &&
      !absl::EndsWithIgnoreCase(source.csv, ".tsv")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--csv: must be the name of a .csv or .tsv file, got ", Quoted(source.csv)));
  }
  OVI_ASSIGN_OR_RETURN(const std::vector<Override> overrides, OverridesOf(source));
  absl::StatusOr<JobSpec> job =
      source.config.empty() ? ParseJob("", "command line", "", overrides) : LoadJob(source.config, overrides);
  if (!job.ok()) return CannotBegin(job.status());
  return job;
}

}  // namespace ovi::client
