#include "worker/agent/agent_setup.h"

#include <errno.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/text.h"
#include "worker/agent/group_folder.h"
#include "worker/agent/host_facts.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

std::string FindWorker(const std::string& own_path) {
  const fs::path folder = fs::path(own_path).parent_path();
  std::error_code error;
  for (const char* place : {"ovi-worker", "../cli/ovi-worker"}) {
    const fs::path candidate = (folder / place).lexically_normal();
    if (fs::is_regular_file(candidate, error)) return candidate.string();
  }
  return "ovi-worker";
}

}  // namespace

absl::Status CompleteConfig(AgentConfig& config, const std::string& own_path) {
  if (config.name.empty()) config.name = ReadHostname();
  if (config.models_dir.empty()) config.models_dir = DefaultModelsDir();
  if (config.worker.empty()) config.worker = FindWorker(own_path);
  if (config.cache_dir.empty()) {
    const char* const from_environment = std::getenv("OVI_CACHE_DIR");
    const bool set = from_environment != nullptr && *from_environment != '\0';
    config.cache_dir = set ? from_environment : config.state_dir + "/cache";
  }
  std::error_code error;
  for (std::string* path : {&config.state_dir, &config.models_dir, &config.weights_dir, &config.cache_dir}) {
    if (!path->empty()) *path = fs::absolute(*path, error).lexically_normal().string();
    if (error) return absl::UnavailableError(absl::StrCat(*path, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> LockStateFolder(const std::string& state_dir) {
  std::error_code error;
  fs::create_directories(state_dir, error);
  if (error)
    return absl::FailedPreconditionError(absl::StrCat("state_dir ", state_dir, ": ", error.message()));
  const std::string path = state_dir + "/lock";
  absl::StatusOr<UniqueFd> lock = TryLockFile(path);
  if (absl::IsUnavailable(lock.status())) {
    const std::string pid = ReadSmallFile(path, 64).value_or("");
    return absl::FailedPreconditionError(
        absl::StrCat("state_dir ", state_dir, ": another agent uses it, pid ", std::string(Trimmed(pid))));
  }
  if (!lock.ok()) return lock.status();
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(lock->get(), 0) != 0 || ::pwrite(lock->get(), pid.data(), pid.size(), 0) < 0)
    return absl::ErrnoToStatus(errno, path);
  return lock;
}

}  // namespace ovi
