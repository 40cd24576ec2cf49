// What an engine finds on the host when it only plans: tensors of the right names and shapes with nothing in
// them, from the model's configuration alone.
#pragma once

#include <cstdint>
#include <memory>

#include "worker/pipeline/engine.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {

// Every tensor claims to be bf16, which no network needs to round, and every value is 0. Streamed weights are
// kept nowhere; what they would take is added to `host_bytes`, which may be null.
EngineFiles ShapesOf(const ModelFolder& model, std::int64_t* host_bytes = nullptr);

}  // namespace ovi
