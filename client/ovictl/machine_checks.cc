// The checks of this machine. What they use is what the agent uses, so they fail where it would.
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/part_file.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "client/ovictl/checks.h"
#include "worker/agent/gpu_reader.h"
#include "worker/agent/host_facts.h"
#include "worker/agent/mpirun_command.h"
#include "worker/pipeline/model_folder.h"

namespace ovi::client {
namespace {

namespace fs = std::filesystem;

CheckResult Fail(std::string name, const absl::Status& status, std::string hint) {
  return {std::move(name), Verdict::kFail, std::string(status.message()), std::move(hint)};
}

// Removed with what is in it.
class ScratchFolder {
 public:
  ScratchFolder() : path_((fs::temp_directory_path() / "ovictl-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }  // "" when it could not be made

 private:
  std::string path_;
};

// Two ranks of `true`, started as the agent starts a group.
absl::Status StartTwoRanks() {
  const ScratchFolder scratch;
  if (scratch.path().empty())
    return absl::FailedPreconditionError("cannot make a folder for temporary files");
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  const MpirunCommandLine command = MpirunCommand({.mpirun = "mpirun",
                                                   .worker = "true",
                                                   .group_dir = scratch.path(),
                                                   .scratch_dir = scratch.path(),
                                                   .world_size = 2,
                                                   .as_root = ::geteuid() == 0,
                                                   .base_environment = environment});
  std::vector<std::string> argv = {"/usr/bin/env", "-i"};
  argv.insert(argv.end(), command.environment.begin(), command.environment.end());
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  OVI_ASSIGN_OR_RETURN(const CapturedRun run, RunAndCapture(argv, {.timeout = std::chrono::seconds(30)}));
  if (run.exit.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("cannot start ranks: ", run.exit.ToString(), ": ", LastWords(run.stderr_tail)));
}

CheckResult CheckMpirun() {
  CheckResult result{.name = "mpirun"};
  const absl::StatusOr<CapturedRun> version =
      RunAndCapture({"mpirun", "--version"}, {.timeout = std::chrono::seconds(10)});
  if (!version.ok())
    return Fail("mpirun", version.status(), "install Open MPI (Debian and Ubuntu: apt install openmpi-bin)");
  const std::string name = OpenMpiVersion(version->stdout_text);
  if (name.empty()) {
    return {"mpirun", Verdict::kFail, "is not Open MPI's", "put Open MPI's mpirun first in PATH"};
  }
  const auto begin = std::chrono::steady_clock::now();
  if (const absl::Status status = StartTwoRanks(); !status.ok()) {
    return Fail("mpirun", Annotate(status, name), "run `mpirun -n 2 true` and see what it says");
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  result.detail = absl::StrFormat("%s starts two ranks in %.1f s", name, seconds.count());
  if (!name.starts_with("Open MPI 4.")) {
    result.verdict = Verdict::kWarning;
    result.hint = "tested with Open MPI 4.1";
  }
  return result;
}

CheckResult CheckFfmpeg() {
  const char* hint = "install it (Debian and Ubuntu: apt install ffmpeg): it writes the MP4 files";
  const absl::StatusOr<CapturedRun> run =
      RunAndCapture({"ffmpeg", "-hide_banner", "-encoders"}, {.timeout = std::chrono::seconds(10)});
  if (!run.ok()) return Fail("ffmpeg", run.status(), hint);
  for (const char* encoder : {"libx264", "aac"}) {
    if (run->stdout_text.find(absl::StrCat(" ", encoder, " ")) == std::string::npos) {
      return {"ffmpeg", Verdict::kFail, absl::StrCat("has no encoder ", encoder),
              "install a build that has it"};
    }
  }
  return {"ffmpeg", Verdict::kOk, "writes H.264 and AAC", ""};
}

CheckResult CheckGpus() {
  absl::StatusOr<std::unique_ptr<GpuReader>> reader = OpenNvmlReader("");
  if (!reader.ok()) {
    return {"gpus", Verdict::kWarning, std::string(reader.status().message()),
            "without a GPU an agent needs `gpus:` in its YAML and computes on the CPU"};
  }
  std::vector<std::string> names, faults;
  for (const GpuReading& gpu : (*reader)->Read()) {
    names.push_back(gpu.name);
    if (!gpu.fault.empty()) faults.push_back(absl::StrCat("GPU ", gpu.index, ": ", gpu.fault));
  }
  if (!faults.empty()) {
    return {"gpus", Verdict::kFail, absl::StrJoin(faults, "; "),
            "nvidia-smi -q says more; a reboot may help"};
  }
  return {"gpus", Verdict::kOk, absl::StrJoin(names, ", "), ""};
}

// OK when all of its files are there and may be read.
absl::Status OpenModel(const std::string& models_dir, const std::string& name) {
  OVI_ASSIGN_OR_RETURN(const ModelFolder model, FindModel({.name = name}, models_dir));
  for (const std::string& path : {model.fusion_weights, model.text_weights, model.video_vae_weights,
                                  model.audio_vae_weights, model.vocoder_weights, model.tokenizer}) {
    if (::access(path.c_str(), R_OK) != 0) return absl::PermissionDeniedError(path + ": may not be read");
  }
  return absl::OkStatus();
}

CheckResult CheckModels() {
  const std::string models_dir = DefaultModelsDir();
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(models_dir, error), end; !error && entry != end; entry.increment(error)) {
    if (fs::exists(entry->path() / "model_spec.json", error)) names.insert(entry->path().filename().string());
  }
  // Configurations come with the program, weights of the large ones do not: without them one is no problem,
  // but files that are there and cannot be used are.
  std::vector<std::string> usable, without_weights, problems;
  for (const std::string& name : names) {
    const absl::Status status = OpenModel(models_dir, name);
    if (status.ok()) {
      usable.push_back(name);
    } else if (absl::IsNotFound(status)) {
      without_weights.push_back(name);
    } else {
      problems.push_back(absl::StrCat(name, ": ", std::string(status.message())));
    }
  }
  CheckResult result{.name = "models", .detail = absl::StrCat(models_dir, ": ", absl::StrJoin(usable, ", "))};
  if (!without_weights.empty()) {
    absl::StrAppend(&result.detail, usable.empty() ? "" : "; ",
                    "no weights: ", absl::StrJoin(without_weights, ", "));
  }
  if (!problems.empty()) {
    result.verdict = Verdict::kWarning;
    result.hint = absl::StrJoin(problems, "; ");
  }
  if (usable.empty()) {
    result.verdict = Verdict::kFail;
    if (names.empty()) result.detail = absl::StrCat(models_dir, ": no model");
    if (problems.empty()) result.hint = "OVI_MODELS_DIR names the folder with the models";
  }
  return result;
}

CheckResult CheckMemory() {
  const v1::HostFacts facts = ReadHostFacts("/");
  return JudgeMemory(facts.memory_bytes_available(), facts.memory_bytes_total());
}

}  // namespace

CheckResult CheckFolder(const std::string& name, const std::string& folder) {
  if (const absl::Status status = PartFile::Create(folder + "/ovictl-probe").status(); !status.ok()) {
    return Fail(name, status, "make the folder, or let this user write there");
  }
  return JudgeDisk(name, folder, ReadHostFacts(folder).disk_bytes_free());
}

std::vector<Check> MachineChecks() {
  return {CheckMpirun, CheckFfmpeg, CheckGpus, CheckModels, CheckMemory};
}

}  // namespace ovi::client
