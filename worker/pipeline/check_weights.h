// Holds a model's weight files against its networks, before anything is computed with the first of them.
#pragma once

#include "absl/status/status.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {

// Reads the files' tables, not their data. The error of the first file that is damaged, or is not that
// network's: the decoders' turn comes when a clip is nearly done, which is late to learn that their file was
// cut short.
absl::Status CheckWeights(const ModelFolder& model);

}  // namespace ovi
