#include "coordinator/artifacts/upload.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/artifacts/artifact_store.h"
#include "coordinator/artifacts/input_store.h"

namespace ovi {

absl::Status Upload::Finish() {
  OVI_ASSIGN_OR_RETURN(const std::string sha256, file_.Seal());
  if (file_.bytes_written() != artifact_.size_bytes) {
    return absl::DataLossError(absl::StrCat(artifact_.file_name, ": ", file_.bytes_written(), " bytes came, ",
                                            artifact_.size_bytes, " were announced"));
  }
  if (sha256 != artifact_.sha256) {
    return absl::DataLossError(
        absl::StrCat(artifact_.file_name, ": its sha256 is ", sha256, ", announced was ", artifact_.sha256));
  }
  return store_.Commit(file_, attempt_, artifact_);
}

absl::StatusOr<std::string> InputUpload::Finish() {
  OVI_ASSIGN_OR_RETURN(std::string sha256, file_.Seal());
  OVI_RETURN_IF_ERROR(store_.Commit(file_, path_, sha256));
  return sha256;
}

}  // namespace ovi
