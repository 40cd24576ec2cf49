// What to draw: text_prompt (a prompt, or the name of a CSV/TSV list of them), image_path and mode.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/job/settings.h"

namespace ovi {

inline constexpr std::int64_t kPathBytesMax = 4096;
inline constexpr std::int64_t kPromptListBytesMax = 16 << 20;

struct Prompts {
  Mode mode = Mode::kT2v;
  std::vector<PromptItem> items;
  std::vector<std::string> warnings;
};

// `path` as it is when absolute or when `folder` is empty, else below `folder`.
std::string ResolvePath(std::string_view path, const std::string& folder);

// A path a user wrote: "" for nothing or an empty text; INVALID_ARGUMENT for control characters or too many
// bytes.
absl::StatusOr<std::string> YamlPath(const YamlNode& node);

// Reads the prompt list from disk where text_prompt names one. Without `mode`, images decide it: all prompts
// have one (i2v) or none has (t2v). Relative paths in the file and in its prompt list count from `base_dir`.
absl::StatusOr<Prompts> ReadPrompts(const Settings& settings, const std::string& base_dir);

// One prompt and where it was written ("prompts.csv:3").
struct ListedPrompt {
  PromptItem item;
  std::string place;
};

// Rows of a list with a column text_prompt and perhaps image_path; further columns are ignored. Pure.
// Separated by tabs where source_name ends in .tsv. At least one row, no blank prompt.
absl::StatusOr<std::vector<ListedPrompt>> ParsePromptList(std::string_view text,
                                                          std::string_view source_name);

}  // namespace ovi
