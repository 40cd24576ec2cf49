#include "worker/agent/group_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/part_file.h"
#include "base/sha256.h"
#include "base/small_file.h"
#include "base/status.h"

namespace ovi {
namespace {

constexpr std::int64_t kRecordBytesMax = 64 * 1024;

absl::Status WriteJson(const std::string& path, const nlohmann::json& json) {
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  OVI_RETURN_IF_ERROR(file->Write({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  return file->Commit();
}

std::array<std::string, 2> ScratchPlaces(const std::string& group_dir) {
  return {absl::StrCat("/dev/shm/ovi-", Sha256Hex(group_dir).substr(0, 16)), group_dir + "/scratch"};
}

// Calls read(json), which may throw nlohmann's exceptions for missing fields and wrong types.
template <typename Record, typename Read>
absl::StatusOr<Record> ReadJson(const std::string& path, const Read& read) {
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kRecordBytesMax));
  try {
    return read(nlohmann::json::parse(text));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
}

}  // namespace

absl::Status GroupFolder::Write(const ProcessRecord& record) const {
  return WriteJson(path_ + "/process.json", {{"keeper_pid", record.keeper_pid},
                                             {"keeper_start_ticks", record.keeper_start_ticks},
                                             {"leader_pid", record.leader_pid},
                                             {"boot_id", record.boot_id}});
}

absl::Status GroupFolder::Write(const ExitRecord& record) const {
  return WriteJson(exit_path(), {{"launched", record.launched},
                                 {"exit_code", record.exit_code},
                                 {"signal", record.signal},
                                 {"message", record.message}});
}

absl::StatusOr<ProcessRecord> GroupFolder::ReadProcess() const {
  return ReadJson<ProcessRecord>(path_ + "/process.json", [](const nlohmann::json& json) {
    ProcessRecord record;
    json.at("keeper_pid").get_to(record.keeper_pid);
    json.at("keeper_start_ticks").get_to(record.keeper_start_ticks);
    json.at("leader_pid").get_to(record.leader_pid);
    json.at("boot_id").get_to(record.boot_id);
    return record;
  });
}

absl::StatusOr<ExitRecord> GroupFolder::ReadExit() const {
  return ReadJson<ExitRecord>(exit_path(), [](const nlohmann::json& json) {
    ExitRecord record;
    json.at("launched").get_to(record.launched);
    json.at("exit_code").get_to(record.exit_code);
    json.at("signal").get_to(record.signal);
    json.at("message").get_to(record.message);
    return record;
  });
}

absl::StatusOr<std::string> GroupFolder::MakeScratch() const {
  RemoveScratch();
  // The first fails where there is no shared memory, or where somebody else took the name.
  for (const std::string& folder : ScratchPlaces(path_)) {
    if (::mkdir(folder.c_str(), 0700) == 0) return folder;
  }
  return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": cannot make a scratch folder in it"));
}

void GroupFolder::RemoveScratch() const {
  std::error_code ignored;
  for (const std::string& folder : ScratchPlaces(path_)) std::filesystem::remove_all(folder, ignored);
}

void GroupFolder::MarkTold() const {
  const UniqueFd created(::open((path_ + "/told").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

bool GroupFolder::told() const {
  return ::access((path_ + "/told").c_str(), F_OK) == 0;
}

absl::StatusOr<UniqueFd> TryLockFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open the lock"));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK) return absl::UnavailableError(absl::StrCat(path, ": is locked"));
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot lock it"));
}

}  // namespace ovi
