#include "worker/plan/gpu_catalog.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/program_files.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

// A number of a card: its key, what one of the key's unit is, and whether it may be 0.
struct Figure {
  std::string_view key;
  double GpuModel::*field;
  double unit;
  bool optional = false;
};
constexpr Figure kFigures[] = {
    {"bf16_tflops", &GpuModel::bf16_flops, 1e12},
    {"fp8_tflops", &GpuModel::fp8_flops, 1e12, true},
    {"int8_tops", &GpuModel::int8_ops, 1e12},
    {"memory_gb_per_second", &GpuModel::memory_bytes_per_second, 1e9},
    {"pcie_gb_per_second", &GpuModel::link_bytes_per_second, 1e9},
};
constexpr std::string_view kName = "name";
constexpr std::string_view kMemory = "memory_mib";

absl::Status At(std::string_view source_name, int line, std::string_view reason) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(source_name), ":", line, ": ", std::string(reason)));
}

absl::Status SetKey(const YamlEntry& entry, GpuModel& gpu) {
  if (entry.key == kName) {
    OVI_ASSIGN_OR_RETURN(gpu.name, YamlText(entry.value, 64));
    if (gpu.name.empty()) return absl::InvalidArgumentError("must not be empty");
    return absl::OkStatus();
  }
  if (entry.key == kMemory) {
    OVI_ASSIGN_OR_RETURN(const std::int64_t mib, YamlInteger(entry.value, 1, 1 << 24));
    gpu.bytes = mib << 20;
    return absl::OkStatus();
  }
  for (const Figure& figure : kFigures) {
    if (entry.key != figure.key) continue;
    OVI_ASSIGN_OR_RETURN(const double value, YamlNumber(entry.value, 0, 1e6));
    if (value == 0 && !figure.optional) return absl::InvalidArgumentError("must be more than 0");
    gpu.*figure.field = value * figure.unit;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("unknown key");
}

absl::StatusOr<GpuModel> ParseGpu(const YamlNode& node, std::string_view source_name) {
  if (node.kind != YamlNode::Kind::kMap) {
    return At(source_name, node.line, absl::StrCat("a card must be a map, got ", Describe(node)));
  }
  GpuModel gpu;
  std::set<std::string_view> keys;
  for (const YamlEntry& entry : node.entries) {
    if (const absl::Status status = SetKey(entry, gpu); !status.ok()) {
      return At(source_name, entry.line, absl::StrCat(entry.key, ": ", std::string(status.message())));
    }
    keys.insert(entry.key);
  }
  std::vector<std::string_view> all = {kName, kMemory};
  for (const Figure& figure : kFigures) all.push_back(figure.key);
  for (const std::string_view key : all) {
    if (!keys.contains(key))
      return At(source_name, node.line, absl::StrCat("a card without ", std::string(key)));
  }
  return gpu;
}

// "RTX 4060 Ti 16GB" -> {rtx, 4060, ti, 16, gb}: people write 4060ti and 16 GB too.
std::set<std::string> WordsOf(std::string_view text) {
  std::set<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.insert(word);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (!absl::ascii_isalnum(byte)) {
      end_word();
      continue;
    }
    if (!word.empty() && (absl::ascii_isdigit(static_cast<unsigned char>(word.back())) != 0) !=
                             (absl::ascii_isdigit(byte) != 0)) {
      end_word();
    }
    word += absl::ascii_tolower(byte);
  }
  end_word();
  return words;
}

// Words that tell no card from another.
std::set<std::string> Telling(std::set<std::string> words) {
  for (const char* common : {"nvidia", "geforce", "rtx", "gb", "gib", "gpu"}) words.erase(common);
  return words;
}

bool Includes(const std::set<std::string>& all, const std::set<std::string>& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

std::string Names(const std::vector<const GpuModel*>& gpus) {
  return absl::StrJoin(gpus, ", ", [](std::string* out, const GpuModel* gpu) { out->append(gpu->name); });
}

}  // namespace

absl::StatusOr<std::vector<GpuModel>> ParseGpus(std::string_view yaml, std::string_view source_name) {
  OVI_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml, source_name));
  if (root.kind != YamlNode::Kind::kMap || root.entries.size() != 1 || root.entries[0].key != "gpus" ||
      root.entries[0].value.kind != YamlNode::Kind::kSequence) {
    return At(source_name, std::max(root.line, 1), "must be one list with the key gpus");
  }
  std::vector<GpuModel> gpus;
  for (const YamlNode& node : root.entries[0].value.items) {
    OVI_ASSIGN_OR_RETURN(GpuModel gpu, ParseGpu(node, source_name));
    for (const GpuModel& other : gpus) {
      if (WordsOf(other.name) == WordsOf(gpu.name)) {
        return At(source_name, node.line, absl::StrCat("a second card of the name ", Quoted(gpu.name)));
      }
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

absl::StatusOr<std::vector<GpuModel>> LoadGpus(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(const std::string yaml, ReadSmallFile(path, kYamlBytesMax));
  return ParseGpus(yaml, path);
}

std::string DefaultGpusFile() {
  const char* variable = std::getenv("OVI_GPUS_FILE");
  if (variable != nullptr && *variable != '\0') return variable;
  const std::string found = FindNearProgram({"configs/gpus.yaml", "share/ovi/gpus.yaml"});
  return found.empty() ? "configs/gpus.yaml" : found;
}

absl::StatusOr<GpuModel> FindGpu(const std::vector<GpuModel>& gpus, std::string_view words) {
  const std::set<std::string> wanted = Telling(WordsOf(words));
  std::vector<const GpuModel*> matches, near, all;
  for (const GpuModel& gpu : gpus) {
    const std::set<std::string> name = Telling(WordsOf(gpu.name));
    if (name == wanted) return gpu;
    all.push_back(&gpu);
    std::vector<std::string> common;
    std::set_intersection(name.begin(), name.end(), wanted.begin(), wanted.end(), std::back_inserter(common));
    if (!common.empty()) near.push_back(&gpu);
    if (!wanted.empty() && Includes(name, wanted)) matches.push_back(&gpu);
  }
  if (matches.size() == 1) return *matches.front();
  if (!matches.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(words), " may be one of several cards: ", Names(matches)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no card called ", Quoted(words), " is known; ",
                   near.empty() ? "known are: " : "these come near: ", Names(near.empty() ? all : near)));
}

}  // namespace ovi
