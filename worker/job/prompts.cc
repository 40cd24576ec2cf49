#include "worker/job/prompts.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml_value.h"
#include "worker/job/csv.h"

namespace ovi {
namespace {

bool IsTsv(std::string_view path) {
  return absl::EndsWithIgnoreCase(std::string(path), ".tsv");
}

// The original asks whether such a file exists; a name mistyped would then be drawn as a prompt.
bool NamesPromptList(const std::string& text_prompt) {
  return (absl::EndsWithIgnoreCase(text_prompt, ".csv") || IsTsv(text_prompt)) &&
         text_prompt.find('\n') == std::string::npos;
}

absl::Status CheckPrompt(std::string_view text) {
  if (Trimmed(text).empty()) return absl::InvalidArgumentError("is empty");
  if (static_cast<std::int64_t>(text.size()) > kPromptBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", text.size(), " bytes, more than the ", kPromptBytesMax, " allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckPath(std::string_view path) {
  if (static_cast<std::int64_t>(path.size()) > kPathBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", path.size(), " bytes, more than the ", kPathBytesMax, " allowed"));
  }
  const bool control =
      std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  if (control) return absl::InvalidArgumentError(absl::StrCat("holds a control character: ", Quoted(path)));
  return absl::OkStatus();
}

absl::Status CellError(const std::string& place, const char* column, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", column, " ", status.message()));
}

absl::StatusOr<std::optional<std::size_t>> FindColumn(const CsvRow& header, std::string_view name,
                                                      std::string_view source_name) {
  std::optional<std::size_t> column;
  for (std::size_t i = 0; i < header.cells.size(); ++i) {
    if (Trimmed(header.cells[i]) != name) continue;
    if (column) {
      return absl::InvalidArgumentError(absl::StrCat(std::string(source_name), ":", header.line, ": column ",
                                                     Quoted(name), " is there twice"));
    }
    column = i;
  }
  return column;
}

absl::StatusOr<std::vector<ListedPrompt>> ReadPromptList(const Setting& text_prompt, const std::string& path,
                                                         const std::string& base_dir) {
  absl::StatusOr<std::string> text = ReadSmallFile(path, kPromptListBytesMax);
  if (!text.ok()) {
    return absl::Status(
        text.status().code(),
        absl::StrCat(text_prompt.Place(), ": text_prompt names a prompt list: ", text.status().message()));
  }
  OVI_ASSIGN_OR_RETURN(std::vector<ListedPrompt> prompts, ParsePromptList(*text, path));
  for (ListedPrompt& prompt : prompts) prompt.item.image_path = ResolvePath(prompt.item.image_path, base_dir);
  return prompts;
}

// The prompts of text_prompt; only those of a list have their images yet.
absl::StatusOr<std::vector<ListedPrompt>> ReadTexts(const Settings& settings, const std::string& base_dir) {
  const Setting* setting = settings.Find("text_prompt");
  if (setting == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(settings.source_name(), ": text_prompt is missing"));
  }
  absl::StatusOr<std::string> text = YamlText(setting->value, kPromptBytesMax);
  if (!text.ok()) return setting->Error(std::string(text.status().message()));
  const std::string trimmed(Trimmed(*text));
  if (NamesPromptList(trimmed)) {
    if (const absl::Status status = CheckPath(trimmed); !status.ok())
      return setting->Error(std::string(status.message()));
    return ReadPromptList(*setting, ResolvePath(trimmed, setting->overridden ? "" : base_dir), base_dir);
  }
  if (const absl::Status status = CheckPrompt(*text); !status.ok())
    return setting->Error(std::string(status.message()));
  return std::vector<ListedPrompt>{{{*std::move(text), ""}, setting->Place()}};
}

absl::StatusOr<Mode> InferMode(const std::vector<ListedPrompt>& prompts) {
  const auto has_image = [](const ListedPrompt& prompt) { return !prompt.item.image_path.empty(); };
  const bool first = has_image(prompts.front());
  for (const ListedPrompt& prompt : prompts) {
    if (has_image(prompt) == first) continue;
    return absl::InvalidArgumentError(absl::StrCat(prompt.place, ": ",
                                                   first ? "has no image" : "has an image",
                                                   ", unlike the prompts before it; set mode to t2v or i2v"));
  }
  return first ? Mode::kI2v : Mode::kT2v;
}

}  // namespace

std::string ResolvePath(std::string_view path, const std::string& folder) {
  if (path.empty() || path.front() == '/' || folder.empty()) return std::string(path);
  while (path.substr(0, 2) == "./") path.remove_prefix(2);
  return absl::StrCat(folder, folder.back() == '/' ? "" : "/", std::string(path));
}

absl::StatusOr<std::string> YamlPath(const YamlNode& node) {
  OVI_ASSIGN_OR_RETURN(std::string path, YamlText(node, kPathBytesMax));
  OVI_RETURN_IF_ERROR(CheckPath(path));
  return path;
}

absl::StatusOr<std::vector<ListedPrompt>> ParsePromptList(std::string_view text,
                                                          std::string_view source_name) {
  OVI_ASSIGN_OR_RETURN(std::vector<CsvRow> rows,
                       ParseCsv(text, IsTsv(source_name) ? '\t' : ',', source_name));
  const std::string source(source_name);
  if (rows.empty()) return absl::InvalidArgumentError(absl::StrCat(source, ": is empty"));
  OVI_ASSIGN_OR_RETURN(const std::optional<std::size_t> text_column,
                       FindColumn(rows[0], "text_prompt", source_name));
  OVI_ASSIGN_OR_RETURN(const std::optional<std::size_t> image_column,
                       FindColumn(rows[0], "image_path", source_name));
  if (!text_column) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ":", rows[0].line, ": the first row has no column \"text_prompt\""));
  }
  if (rows.size() == 1)
    return absl::InvalidArgumentError(absl::StrCat(source, ": has no prompt below its first row"));

  std::vector<ListedPrompt> prompts;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    ListedPrompt prompt;
    prompt.place = absl::StrCat(source, ":", rows[i].line);
    prompt.item.text = std::move(rows[i].cells[*text_column]);
    if (const absl::Status status = CheckPrompt(prompt.item.text); !status.ok()) {
      return CellError(prompt.place, "text_prompt", status);
    }
    if (image_column) {
      prompt.item.image_path = std::string(Trimmed(rows[i].cells[*image_column]));
      if (const absl::Status status = CheckPath(prompt.item.image_path); !status.ok()) {
        return CellError(prompt.place, "image_path", status);
      }
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<Prompts> ReadPrompts(const Settings& settings, const std::string& base_dir) {
  OVI_ASSIGN_OR_RETURN(std::vector<ListedPrompt> listed, ReadTexts(settings, base_dir));
  OVI_ASSIGN_OR_RETURN(const std::optional<std::string> image_path, settings.Get("image_path", YamlPath));
  const Setting* image_setting = image_path.value_or("").empty() ? nullptr : settings.Find("image_path");
  if (image_setting != nullptr) {
    for (ListedPrompt& prompt : listed) {
      if (!prompt.item.image_path.empty()) {
        return image_setting->Error(
            absl::StrCat("contradicts the image that ", prompt.place, " names; remove one"));
      }
      prompt.item.image_path = ResolvePath(*image_path, image_setting->overridden ? "" : base_dir);
    }
  }

  Prompts prompts;
  OVI_ASSIGN_OR_RETURN(const std::optional<Mode> mode,
                       settings.Get("mode", [](const YamlNode& node) -> absl::StatusOr<Mode> {
                         OVI_ASSIGN_OR_RETURN(const std::string word, YamlText(node, kPathBytesMax));
                         return ParseMode(word);
                       }));
  if (mode) {
    prompts.mode = *mode;
  } else {
    OVI_ASSIGN_OR_RETURN(prompts.mode, InferMode(listed));
  }
  for (ListedPrompt& prompt : listed) {
    const bool has_image = !prompt.item.image_path.empty();
    if (prompts.mode == Mode::kI2v && !has_image) {
      return absl::InvalidArgumentError(absl::StrCat(prompt.place, ": mode i2v needs an image_path"));
    }
    if (prompts.mode == Mode::kT2v && has_image) {
      if (prompts.warnings.empty()) {
        prompts.warnings.push_back(
            absl::StrCat(image_setting != nullptr ? image_setting->Place() : prompt.place,
                         ": image_path is ignored in mode t2v"));
      }
      prompt.item.image_path.clear();
    }
    prompts.items.push_back(std::move(prompt.item));
  }
  return prompts;
}

}  // namespace ovi
