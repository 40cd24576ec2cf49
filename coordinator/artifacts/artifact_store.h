// Results and inputs of jobs, on disk.
//
//   jobs/<job>/attempt-<n>/     what attempt n uploaded so far; nobody sees it
//   jobs/<job>/published-<n>/   the job's result, from attempt n
//   inputs/<sha256>             first frames, named by what they hold
//   trash/                      on its way out
//
// A file is under its name only when complete, verified and synced; a job's result appears whole. Killed at
// any moment, the store is as before or after a call; what is left over is removed by the next Open.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/disk.h"
#include "coordinator/artifacts/disk_space.h"
#include "coordinator/artifacts/input_store.h"
#include "coordinator/artifacts/stored_file.h"
#include "coordinator/artifacts/upload.h"
#include "coordinator/core/types.h"

namespace ovi {

class LockFile;

struct ArtifactLimits {
  std::int64_t file_bytes_max = std::int64_t{4} << 30;  // of one file of a result
  std::int64_t input_bytes_max = std::int64_t{20} << 20;
  std::int64_t input_kept_ms = std::int64_t{24} * 3600 * 1000;  // since it was last uploaded or asked for
  std::int64_t disk_bytes_free_min = std::int64_t{1} << 30;     // no upload takes the last of the disk
  DiskSpace::BytesFree disk_bytes_free = DiskBytesFree;         // tests have disks of their own
};

// A name that can be a file's in one folder and nothing else: 1..200 printable ASCII characters, no slash, no
// dot in front, not ending in ".part".
bool IsPlainFileName(std::string_view name);

// Thread-safe. Must outlive its uploads.
class ArtifactStore {
 public:
  // Creates `folder` where its parent exists. FAILED_PRECONDITION when it cannot be used, or another process
  // uses it.
  static absl::StatusOr<std::unique_ptr<ArtifactStore>> Open(const std::string& folder,
                                                             const ArtifactLimits& limits);
  ~ArtifactStore();
  ArtifactStore(const ArtifactStore&) = delete;
  ArtifactStore& operator=(const ArtifactStore&) = delete;

  // --- Results

  // One file of an attempt, with the size and hash it will have; uploaded twice, the last one counts.
  // INVALID_ARGUMENT for a name, hash or size that cannot be; RESOURCE_EXHAUSTED for a file above the limit,
  // or when the disk has no room for it.
  absl::StatusOr<std::unique_ptr<Upload>> BeginUpload(const core::AttemptRef& attempt,
                                                      const core::Artifact& artifact);
  // Whether the attempt, published or not, has exactly these bytes under these names. NOT_FOUND, DATA_LOSS
  // with the file's name. Files uploaded before our own restart are hashed again.
  absl::Status CheckComplete(const core::AttemptRef& attempt, std::span<const core::Artifact> artifacts);
  // Makes the attempt's files the job's result, instead of an earlier attempt's. May be repeated. NOT_FOUND
  // when the attempt uploaded nothing, FAILED_PRECONDITION when a later one is published.
  absl::Status Publish(const core::AttemptRef& attempt);
  // Of the published result. NOT_FOUND.
  absl::StatusOr<StoredFile> OpenForRead(core::JobId job, std::string_view file_name);

  // Removes what an attempt uploaded, unless it is published. May be repeated. A file that cannot be removed
  // is logged.
  void Drop(const core::AttemptRef& attempt);
  // Removes all files of a job. As Drop.
  void Delete(core::JobId job);
  // After a restart: removes the files of jobs that are not known, and unpublished attempts that are not
  // wanted.
  void Sweep(const std::function<bool(core::JobId)>& known,
             const std::function<bool(const core::AttemptRef&)>& wanted);

  // --- Inputs

  absl::StatusOr<std::unique_ptr<InputUpload>> BeginInput() { return inputs_.Begin(); }
  // Also keeps it for another input_kept_ms.
  bool HasInput(std::string_view sha256) { return inputs_.Has(sha256); }
  // NOT_FOUND.
  absl::StatusOr<StoredFile> OpenInput(std::string_view sha256) const { return inputs_.OpenForRead(sha256); }
  // Removes inputs that nobody asked for since `now` - input_kept_ms, unless `in_use`. Returns how many.
  int ExpireInputs(core::TimeMs now, const std::set<std::string>& in_use) {
    return inputs_.Expire(now, in_use);
  }

 private:
  friend class Upload;
  ArtifactStore(std::string folder, ArtifactLimits limits, std::unique_ptr<LockFile> lock);
  absl::Status Prepare();
  std::string JobFolder(core::JobId job) const;
  std::string UploadFolder(const core::AttemptRef& attempt) const;
  std::string PublishedFolder(const core::AttemptRef& attempt) const;
  // Moves it where nobody finds it, with the mutex held; the caller removes what this returns without it.
  std::string MoveToTrash(const std::string& path);
  absl::StatusOr<core::Artifact> Examine(const core::AttemptRef& attempt, const std::string& file_name);
  // Of an upload that has come whole.
  absl::Status Commit(IncomingFile& file, const core::AttemptRef& attempt, const core::Artifact& artifact);

  const std::string folder_;
  const ArtifactLimits limits_;
  const std::unique_ptr<LockFile> lock_;
  DiskSpace space_;
  InputStore inputs_;

  std::mutex mutex_;  // of the folders' shape, and of what follows; never held while bytes move
  std::map<core::AttemptRef, std::map<std::string, std::string>> sha256s_;  // of files uploaded, by name
  std::int64_t next_trash_ = 0;
};

}  // namespace ovi
