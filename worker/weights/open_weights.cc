#include "worker/weights/open_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mapped_file.h"
#include "base/status.h"
#include "worker/weights/compressed_source.h"
#include "worker/weights/row_scales.h"
#include "worker/weights/safetensors.h"
#include "worker/weights/torch_file.h"

namespace ovi {
namespace {

absl::StatusOr<std::unique_ptr<TensorTable>> ParseTable(WeightBytes file) {
  if (IsTorchZip(file.bytes)) return ParseTorchZip(std::move(file));
  if (IsTorchLegacy(file.bytes)) return ParseTorchLegacy(std::move(file));
  return ParseSafetensors(std::move(file));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeights(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  return ParseWeights({path, file->bytes(), file});
}

absl::StatusOr<std::unique_ptr<WeightSource>> ParseWeights(WeightBytes file) {
  if (file.bytes.empty()) return absl::InvalidArgumentError(absl::StrCat(file.path, ": the file is empty"));
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<TensorTable> table, ParseTable(std::move(file)));
  if (absl::Status status = AttachRowScales(*table); !status.ok()) return Annotate(status, table->path());
  const std::string path = table->path();
  absl::StatusOr<std::unique_ptr<WeightSource>> source = GatherCompressed(std::move(table));
  if (!source.ok()) return Annotate(source.status(), path);
  return source;
}

}  // namespace ovi
