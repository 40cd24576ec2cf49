// Any bytes as a job: ParseJob answers with a spec that keeps its promises or with one line, and never
// crashes. Lines "#set key=value" are --set overrides (comments to YAML); an input that starts with "#csv" or
// "#tsv" is a prompt list.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "worker/job/parse_job.h"
#include "worker/job/prompts.h"

namespace {

using ovi::Override;

std::vector<Override> OverridesIn(std::string_view text) {
  std::vector<Override> overrides;
  constexpr std::string_view kPrefix = "#set ";
  for (std::size_t at = text.find(kPrefix); at != std::string_view::npos; at = text.find(kPrefix, at)) {
    at += kPrefix.size();
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    overrides.push_back({std::string(line.substr(0, equals)), std::string(line.substr(equals + 1))});
  }
  return overrides;
}

void CheckMessage(std::string_view message) {
  OVI_CHECK(!message.empty() && message.size() < 1000);
  OVI_CHECK(message.find('\n') == std::string_view::npos);
  OVI_CHECK(ovi::IsValidUtf8(message));
}

void CheckPrompt(const ovi::PromptItem& prompt) {
  OVI_CHECK(!ovi::Trimmed(prompt.text).empty() && ovi::IsValidUtf8(prompt.text));
  OVI_CHECK(prompt.text.find('\0') == std::string::npos);
  OVI_CHECK(static_cast<std::int64_t>(prompt.text.size()) <= ovi::kPromptBytesMax);
}

void TryPromptList(std::string_view text, const char* name) {
  const auto prompts = ovi::ParsePromptList(text, name);
  if (!prompts.ok()) return CheckMessage(std::string(prompts.status().message()));
  for (const ovi::ListedPrompt& prompt : *prompts) CheckPrompt(prompt.item);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.substr(0, 4) == "#csv" || text.substr(0, 4) == "#tsv") {
    TryPromptList(text.substr(4), text[1] == 'c' ? "p.csv" : "p.tsv");
    return 0;
  }
  const absl::StatusOr<ovi::JobSpec> spec =
      ovi::ParseJob(text, "job.yaml", "/nonexistent", OverridesIn(text));
  if (!spec.ok()) {
    CheckMessage(std::string(spec.status().message()));
    return 0;
  }
  OVI_CHECK(!spec->prompts.empty());
  for (const ovi::PromptItem& prompt : spec->prompts) {
    CheckPrompt(prompt);
    OVI_CHECK(prompt.image_path.empty() == (spec->mode == ovi::Mode::kT2v));
  }
  OVI_CHECK(!spec->sample_steps || (*spec->sample_steps >= 1 && *spec->sample_steps <= 1000));
  OVI_CHECK(!spec->shift || (*spec->shift > 0.0 && *spec->shift <= 100.0));
  OVI_CHECK(!spec->size || (spec->size->height >= 32 && spec->size->width <= 8192));
  OVI_CHECK(spec->model_name.find('/') == std::string::npos);
  for (const std::string& warning : spec->warnings) CheckMessage(warning);
  return 0;
}
