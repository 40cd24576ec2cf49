// The adapters a job names, found on this machine and held against the model.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/lora.h"

namespace ovi {

// Where an adapter is: a name's file is loras/<name>.safetensors beside the model's configuration folder, so
// in the models folder; a path is itself.
std::string LoraFile(const std::string& path_or_name, const ModelFolder& model);

// In the job's order. With the file, INVALID_ARGUMENT where it is no adapter for the model,
// FAILED_PRECONDITION where it is missing: another node may have it. Errors else as OpenLora.
absl::StatusOr<std::vector<LoraAdapter>> OpenLoras(const std::vector<LoraSpec>& loras,
                                                   const ModelFolder& model);

}  // namespace ovi
