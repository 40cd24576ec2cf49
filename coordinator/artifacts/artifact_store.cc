#include "coordinator/artifacts/artifact_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/disk.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/text.h"
#include "coordinator/artifacts/folders.h"
#include "coordinator/journal/lock_file.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUploaded = "attempt-";
constexpr std::string_view kPublished = "published-";
constexpr std::string_view kPart = ".part";
constexpr std::size_t kNameBytesMax = 200;  // leaves room for PartFile's end within the 255 of file systems

// 12 from "attempt-12" after "attempt-"; nothing from what this store never made.
template <typename Number>
std::optional<Number> NumberAfter(std::string_view prefix, std::string_view name) {
  Number number = 0;
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  if (!absl::SimpleAtoi(absl::string_view(name.data(), name.size()), &number) || number < 1)
    return std::nullopt;
  return absl::StrCat(number) == absl::string_view(name.data(), name.size()) ? std::optional(number)
                                                                             : std::nullopt;
}

// The attempts that have a folder of this kind, ascending.
std::vector<int> AttemptsIn(const std::string& job_folder, std::string_view kind) {
  std::vector<int> attempts;
  for (const std::string& name : NamesIn(job_folder)) {
    if (const std::optional<int> number = NumberAfter<int>(kind, name)) attempts.push_back(*number);
  }
  std::sort(attempts.begin(), attempts.end());
  return attempts;
}

void RemoveParts(const std::string& folder) {
  for (const std::string& name : NamesIn(folder)) {
    if (name.ends_with(kPart)) Remove(absl::StrCat(folder, "/", name));
  }
}

absl::Status CheckAttempt(const core::AttemptRef& attempt) {
  if (attempt.job >= 1 && attempt.attempt >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("attempt: job ", attempt.job, ", attempt ", attempt.attempt, ": both count from 1"));
}

absl::Status CheckName(std::string_view name) {
  if (IsPlainFileName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "file_name: ", Quoted(name), " is no plain file name of at most ", kNameBytesMax, " characters"));
}

absl::Status CheckArtifact(const core::Artifact& artifact, std::int64_t bytes_max) {
  OVI_RETURN_IF_ERROR(CheckName(artifact.file_name));
  if (!IsSha256Hex(artifact.sha256)) {
    return absl::InvalidArgumentError(absl::StrCat(
        artifact.file_name, ": sha256: needs 64 lower-case hex digits, not ", Quoted(artifact.sha256)));
  }
  if (artifact.size_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(artifact.file_name, ": size_bytes: ", artifact.size_bytes));
  }
  if (artifact.size_bytes > bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat(artifact.file_name,
                                                     ": size_bytes: ", artifact.size_bytes,
                                                     " is more than the ", bytes_max, " allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax && name[0] != '.' && !name.ends_with(kPart) &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~' && c != '/'; });
}

ArtifactStore::ArtifactStore(std::string folder, ArtifactLimits limits, std::unique_ptr<LockFile> lock)
    : folder_(std::move(folder)),
      limits_(std::move(limits)),
      lock_(std::move(lock)),
      space_(folder_, limits_.disk_bytes_free_min, limits_.disk_bytes_free),
      inputs_(folder_ + "/inputs", limits_.input_bytes_max, limits_.input_kept_ms, space_) {}

ArtifactStore::~ArtifactStore() = default;

absl::StatusOr<std::unique_ptr<ArtifactStore>> ArtifactStore::Open(const std::string& folder,
                                                                   const ArtifactLimits& limits) {
  const std::string parent = fs::path(folder).parent_path().string();
  OVI_RETURN_IF_ERROR(MakeFolder(folder, parent.empty() ? "." : parent));
  OVI_ASSIGN_OR_RETURN(LockFile lock, LockFile::Acquire(folder + "/lock", folder));
  std::unique_ptr<ArtifactStore> store(
      new ArtifactStore(folder, limits, std::make_unique<LockFile>(std::move(lock))));
  OVI_RETURN_IF_ERROR(store->Prepare());
  return store;
}

absl::Status ArtifactStore::Prepare() {
  for (const char* name : {"jobs", "trash"}) {
    OVI_RETURN_IF_ERROR(MakeFolder(absl::StrCat(folder_, "/", name), folder_));
  }
  for (const std::string& name : NamesIn(folder_ + "/trash")) Remove(absl::StrCat(folder_, "/trash/", name));
  for (const std::string& job : NamesIn(folder_ + "/jobs")) {
    const std::string job_folder = absl::StrCat(folder_, "/jobs/", job);
    for (const std::string& attempt : NamesIn(job_folder))
      RemoveParts(absl::StrCat(job_folder, "/", attempt));
  }
  return inputs_.Prepare();
}

std::string ArtifactStore::JobFolder(core::JobId job) const {
  return absl::StrCat(folder_, "/jobs/", job);
}

std::string ArtifactStore::UploadFolder(const core::AttemptRef& attempt) const {
  return absl::StrCat(JobFolder(attempt.job), "/attempt-", attempt.attempt);
}

std::string ArtifactStore::PublishedFolder(const core::AttemptRef& attempt) const {
  return absl::StrCat(JobFolder(attempt.job), "/published-", attempt.attempt);
}

std::string ArtifactStore::MoveToTrash(const std::string& path) {
  std::string trash = absl::StrCat(folder_, "/trash/", ::getpid(), "-", next_trash_++);
  if (std::rename(path.c_str(), trash.c_str()) != 0 && errno != ENOENT) {
    Log(LogLevel::kWarning, "cannot remove",
        {{"path", path}, {"reason", std::generic_category().message(errno)}});
  }
  return trash;
}

absl::StatusOr<std::unique_ptr<Upload>> ArtifactStore::BeginUpload(const core::AttemptRef& attempt,
                                                                   const core::Artifact& artifact) {
  OVI_RETURN_IF_ERROR(CheckAttempt(attempt));
  OVI_RETURN_IF_ERROR(CheckArtifact(artifact, limits_.file_bytes_max));
  const std::lock_guard lock(mutex_);
  OVI_RETURN_IF_ERROR(MakeFolder(JobFolder(attempt.job), folder_ + "/jobs"));
  OVI_RETURN_IF_ERROR(MakeFolder(UploadFolder(attempt), JobFolder(attempt.job)));
  OVI_ASSIGN_OR_RETURN(
      IncomingFile file,
      IncomingFile::Create(
          absl::StrCat(UploadFolder(attempt), "/", artifact.file_name),
          {.bytes = artifact.size_bytes,
           .too_long = absl::DataLossError(absl::StrCat(artifact.file_name, ": more than the ",
                                                        artifact.size_bytes, " bytes announced came"))},
          space_));
  return std::unique_ptr<Upload>(new Upload(*this, std::move(file), attempt, artifact));
}

absl::Status ArtifactStore::Commit(IncomingFile& file, const core::AttemptRef& attempt,
                                   const core::Artifact& artifact) {
  OVI_RETURN_IF_ERROR(file.Commit());
  const std::lock_guard lock(mutex_);
  sha256s_[attempt][artifact.file_name] = artifact.sha256;
  return absl::OkStatus();
}

// What an attempt's file turned out to be; its kind is not known.
absl::StatusOr<core::Artifact> ArtifactStore::Examine(const core::AttemptRef& attempt,
                                                      const std::string& file_name) {
  absl::StatusOr<StoredFile> file = StoredFile::Open(absl::StrCat(UploadFolder(attempt), "/", file_name));
  if (!file.ok()) file = StoredFile::Open(absl::StrCat(PublishedFolder(attempt), "/", file_name));
  if (!file.ok()) return absl::NotFoundError(absl::StrCat(file_name, ": was not uploaded"));
  core::Artifact found{.file_name = file_name, .sha256 = {}, .size_bytes = file->bytes()};
  {
    const std::lock_guard lock(mutex_);
    const auto files = sha256s_.find(attempt);
    if (files != sha256s_.end() && files->second.contains(file_name)) {
      found.sha256 = files->second.at(file_name);
      return found;
    }
  }
  // It came before we were started.
  OVI_ASSIGN_OR_RETURN(found.sha256, file->Sha256());
  return found;
}

absl::Status ArtifactStore::CheckComplete(const core::AttemptRef& attempt,
                                          std::span<const core::Artifact> artifacts) {
  OVI_RETURN_IF_ERROR(CheckAttempt(attempt));
  for (const core::Artifact& artifact : artifacts) {
    OVI_RETURN_IF_ERROR(CheckName(artifact.file_name));
    OVI_ASSIGN_OR_RETURN(const core::Artifact found, Examine(attempt, artifact.file_name));
    if (found.size_bytes != artifact.size_bytes || found.sha256 != artifact.sha256) {
      return absl::DataLossError(absl::StrCat(artifact.file_name, ": has ", found.size_bytes,
                                              " bytes, sha256 ", found.sha256, "; announced were ",
                                              artifact.size_bytes, " bytes, ", Quoted(artifact.sha256)));
    }
  }
  return absl::OkStatus();
}

absl::Status ArtifactStore::Publish(const core::AttemptRef& attempt) {
  OVI_RETURN_IF_ERROR(CheckAttempt(attempt));
  const std::string from = UploadFolder(attempt), to = PublishedFolder(attempt);
  std::vector<std::string> trash;
  {
    const std::lock_guard lock(mutex_);
    std::vector<int> published = AttemptsIn(JobFolder(attempt.job), kPublished);
    if (!published.empty() && published.back() > attempt.attempt) {
      return absl::FailedPreconditionError(absl::StrCat("job ", attempt.job, ": attempt ", published.back(),
                                                        " is published, so attempt ", attempt.attempt,
                                                        " is late"));
    }
    // An upload that still runs is no part of the result any more.
    RemoveParts(from);
    if (!published.empty() && published.back() == attempt.attempt) {
      published.pop_back();
      // A group that did not hear us uploads once more, the same bytes.
      for (const std::string& name : NamesIn(from)) {
        const std::string source = absl::StrCat(from, "/", name);
        const std::string target = absl::StrCat(to, "/", name);
        if (std::rename(source.c_str(), target.c_str()) != 0) {
          return FolderError(to, "publish");
        }
      }
      trash.push_back(MoveToTrash(from));
    } else if (NamesIn(from).empty()) {
      return absl::NotFoundError(
          absl::StrCat("job ", attempt.job, ", attempt ", attempt.attempt, ": uploaded nothing"));
    } else if (std::rename(from.c_str(), to.c_str()) != 0) {
      return FolderError(to, "publish");
    }
    SyncFolder(to);
    SyncFolder(JobFolder(attempt.job));
    for (const int earlier : published) trash.push_back(MoveToTrash(PublishedFolder({attempt.job, earlier})));
    sha256s_.erase(attempt);
  }
  for (const std::string& path : trash) Remove(path);
  return absl::OkStatus();
}

absl::StatusOr<StoredFile> ArtifactStore::OpenForRead(core::JobId job, std::string_view file_name) {
  const std::lock_guard lock(mutex_);
  const std::vector<int> published = AttemptsIn(JobFolder(job), kPublished);
  if (!published.empty() && IsPlainFileName(file_name)) {
    absl::StatusOr<StoredFile> file =
        StoredFile::Open(absl::StrCat(PublishedFolder({job, published.back()}), "/",
                                      absl::string_view(file_name.data(), file_name.size())));
    if (!absl::IsNotFound(file.status())) return file;
  }
  return absl::NotFoundError(absl::StrCat("job ", job, ": has no file ", Quoted(file_name)));
}

void ArtifactStore::Drop(const core::AttemptRef& attempt) {
  std::unique_lock lock(mutex_);
  sha256s_.erase(attempt);
  const std::string trash = MoveToTrash(UploadFolder(attempt));
  lock.unlock();
  Remove(trash);
}

void ArtifactStore::Delete(core::JobId job) {
  std::unique_lock lock(mutex_);
  sha256s_.erase(sha256s_.lower_bound({job, 0}), sha256s_.lower_bound({job + 1, 0}));
  const std::string trash = MoveToTrash(JobFolder(job));
  lock.unlock();
  Remove(trash);
}

void ArtifactStore::Sweep(const std::function<bool(core::JobId)>& known,
                          const std::function<bool(const core::AttemptRef&)>& wanted) {
  for (const std::string& name : NamesIn(folder_ + "/jobs")) {
    const std::optional<core::JobId> job = NumberAfter<core::JobId>("", name);
    if (!job.has_value()) continue;  // not ours
    if (!known(*job)) {
      Delete(*job);
      continue;
    }
    for (const int attempt : AttemptsIn(JobFolder(*job), kUploaded)) {
      if (!wanted({*job, attempt})) Drop({*job, attempt});
    }
  }
}

}  // namespace ovi
