// Attention on this processor, on all threads of the backend.
#pragma once

#include "absl/status/status.h"
#include "kernels/attention.h"

namespace ovi::cpu {

// Runs `op`, which Validate accepted. The result of a row depends neither on the other rows nor on the number
// of threads; it differs in rounding between processors. Scratch: about 2 MiB a thread at the head dims of
// our models, kept for the thread's life. RESOURCE_EXHAUSTED when the host cannot give it.
absl::Status RunAttention(const Attention& op);

}  // namespace ovi::cpu
