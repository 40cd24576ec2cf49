#include "worker/agent/model_scan.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/part_file.h"
#include "base/regular_file.h"
#include "base/sha256.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/cpu/cpu_backend.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kConfigBytesMax = 1 << 20;
constexpr std::int64_t kCacheBytesMax = 16 << 20;
constexpr std::int64_t kEndBytes = 1 << 20;  // of each end of a weight file
constexpr const char* kConfigFiles[] = {"model_spec.json",
                                        "Ovi/configs/video.json",
                                        "Ovi/configs/audio.json",
                                        "Wan2.2-TI2V-5B/t5_config.json",
                                        "Wan2.2-TI2V-5B/vae_config.json",
                                        "MMAudio/ext_weights/bigvgan_config.json",
                                        "MMAudio/ext_weights/vae_config.json"};

absl::StatusOr<std::string> HashConfig(const std::string& config_dir) {
  Sha256 hash;
  for (const char* name : kConfigFiles) {
    OVI_ASSIGN_OR_RETURN(const std::string text,
                         ReadSmallFile(absl::StrCat(config_dir, "/", name), kConfigBytesMax));
    hash.Update(absl::StrCat(name, " ", text.size(), "\n"));
    hash.Update(text);
  }
  return hash.FinishHex();
}

absl::Status HashPart(const RegularFile& file, const std::string& path, std::int64_t begin, std::int64_t end,
                      Sha256& hash) {
  std::vector<char> buffer(64 * 1024);
  while (begin < end) {
    const auto wanted = std::min<std::int64_t>(end - begin, static_cast<std::int64_t>(buffer.size()));
    const ssize_t count = ::pread(file.fd.get(), buffer.data(), static_cast<std::size_t>(wanted), begin);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, path + ": cannot read");
    if (count == 0) return absl::DataLossError(path + ": became shorter while it was read");
    hash.Update(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
    begin += count;
  }
  return absl::OkStatus();
}

struct WeightsDigest {
  std::string sha256;
  std::int64_t bytes = 0;
};

// Whole checkpoints have tens of gigabytes; their headers, sizes and ends tell versions apart.
absl::StatusOr<WeightsDigest> HashWeights(const ModelFolder& model) {
  WeightsDigest digest;
  Sha256 hash;
  for (const std::string& path : {model.fusion_weights, model.text_weights, model.tokenizer,
                                  model.video_vae_weights, model.audio_vae_weights, model.vocoder_weights}) {
    OVI_ASSIGN_OR_RETURN(const RegularFile file, OpenRegularFile(path));
    hash.Update(absl::StrCat(fs::path(path).filename().string(), " ", file.bytes, "\n"));
    const std::int64_t head_end = std::min(file.bytes, kEndBytes);
    OVI_RETURN_IF_ERROR(HashPart(file, path, 0, head_end, hash));
    OVI_RETURN_IF_ERROR(HashPart(file, path, std::max(head_end, file.bytes - kEndBytes), file.bytes, hash));
    digest.bytes += file.bytes;
  }
  digest.sha256 = hash.FinishHex();
  return digest;
}

using Cache = std::map<std::string, std::vector<v1::MemoryNeed>>;

// With other figures in a need, this number changes.
constexpr int kNeedsVersion = 2;

// What needs follow from: the program and how it lays weights out here, the model, the GPUs.
std::string CacheKey(const v1::ModelInfo& model, const std::string& gpus) {
  return absl::StrCat(OVI_VERSION, " ", kNeedsVersion, " ", MakeCpuBackend()->WeightLayout(), " ",
                      model.config_sha256(), " ", model.weights_sha256(), " ", gpus);
}

// A cache that cannot be read is an empty one.
Cache ReadCache(const std::string& path) {
  Cache cache;
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kCacheBytesMax);
  if (!text.ok()) return cache;
  try {
    const nlohmann::json json = nlohmann::json::parse(*text);
    for (const auto& [key, needs] : json.items()) {
      for (const nlohmann::json& need : needs) {
        v1::MemoryNeed& entry = cache[key].emplace_back();
        entry.set_world_size(need.at("world_size").get<int>());
        entry.set_fsdp(need.at("fsdp").get<bool>());
        entry.set_vram_mode(static_cast<v1::VramMode>(need.at("vram_mode").get<int>()));
        entry.set_as_executed_bytes(need.at("as_executed_bytes").get<std::int64_t>());
        entry.set_reference_bytes(need.at("reference_bytes").get<std::int64_t>());
        entry.set_low_rank_bytes(need.at("low_rank_bytes").get<std::int64_t>());
        entry.set_as_executed_bytes_useful(need.at("as_executed_bytes_useful").get<std::int64_t>());
        entry.set_low_rank_bytes_useful(need.at("low_rank_bytes_useful").get<std::int64_t>());
      }
    }
  } catch (const nlohmann::json::exception&) {
    cache.clear();
  }
  return cache;
}

absl::Status WriteCache(const std::string& path, const Cache& cache) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [key, needs] : cache) {
    json[key] = nlohmann::json::array();
    for (const v1::MemoryNeed& need : needs) {
      json[key].push_back({{"world_size", need.world_size()},
                           {"fsdp", need.fsdp()},
                           {"vram_mode", static_cast<int>(need.vram_mode())},
                           {"as_executed_bytes", need.as_executed_bytes()},
                           {"reference_bytes", need.reference_bytes()},
                           {"low_rank_bytes", need.low_rank_bytes()},
                           {"as_executed_bytes_useful", need.as_executed_bytes_useful()},
                           {"low_rank_bytes_useful", need.low_rank_bytes_useful()}});
    }
  }
  const std::string text = json.dump(2) + "\n";
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  OVI_RETURN_IF_ERROR(file->Write({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  return file->Commit();
}

}  // namespace

absl::StatusOr<ModelFolder> OpenServedModel(const std::string& models_dir, const std::string& weights_dir,
                                            const std::string& name) {
  const std::string config_dir = absl::StrCat(models_dir, "/", name);
  absl::StatusOr<ModelFolder> beside = OpenModelFolder(config_dir, "");
  if (weights_dir.empty() || !absl::IsNotFound(beside.status())) return beside;
  return OpenModelFolder(config_dir, weights_dir);
}

v1::ModelInfo ModelScan::Describe(const std::string& name) const {
  v1::ModelInfo info;
  info.set_name(name);
  const auto fail = [&](const absl::Status& status) {
    info.set_problem(Escaped(std::string(status.message())));
    return info;
  };
  const absl::StatusOr<std::string> config = HashConfig(absl::StrCat(settings_.models_dir, "/", name));
  if (config.ok()) info.set_config_sha256(*config);
  const absl::StatusOr<ModelFolder> model =
      OpenServedModel(settings_.models_dir, settings_.weights_dir, name);
  if (!model.ok()) return fail(model.status());
  if (!config.ok()) return fail(config.status());
  const absl::StatusOr<WeightsDigest> weights = HashWeights(*model);
  if (!weights.ok()) return fail(weights.status());
  info.set_weights_sha256(weights->sha256);
  info.set_weights_bytes(weights->bytes);
  return info;
}

absl::StatusOr<std::vector<v1::MemoryNeed>> ModelScan::NeedsOf(const std::string& name) const {
  OVI_ASSIGN_OR_RETURN(const ModelFolder model,
                       OpenServedModel(settings_.models_dir, settings_.weights_dir, name));
  return settings_.needs_of(model);
}

std::vector<v1::ModelInfo> ModelScan::Scan() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(settings_.models_dir, error)) {
    if (fs::is_regular_file(entry.path() / "model_spec.json", error))
      names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());

  std::vector<v1::ModelInfo> models;
  const Cache before = ReadCache(settings_.cache_file);
  Cache now;
  for (const std::string& name : names) {
    if (!IsValidUtf8(name)) continue;
    v1::ModelInfo& model = models.emplace_back(Describe(name));
    if (!model.problem().empty()) continue;
    const std::string key = CacheKey(model, settings_.gpus);
    const auto known = before.find(key);
    if (known != before.end()) now.insert(*known);
    if (!now.contains(key)) {
      const absl::StatusOr<std::vector<v1::MemoryNeed>> needs = NeedsOf(name);
      if (needs.ok()) now[key] = *needs;
      if (!needs.ok()) model.set_problem(Escaped(std::string(needs.status().message())));
    }
    if (model.problem().empty()) model.mutable_memory_needs()->Assign(now[key].begin(), now[key].end());
  }
  const bool news =
      std::any_of(now.begin(), now.end(), [&](const auto& entry) { return !before.contains(entry.first); });
  if (news && fs::is_directory(fs::path(settings_.cache_file).parent_path(), error)) {
    const absl::Status written = WriteCache(settings_.cache_file, now);
    if (!written.ok()) Log(LogLevel::kWarning, "model cache not written", {{"reason", written.message()}});
  }
  return models;
}

}  // namespace ovi
