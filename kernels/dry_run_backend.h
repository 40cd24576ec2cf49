// A backend that takes memory and computes nothing: whatever runs on it allocates from its arena what it
// would on the device it stands in for, so the arena's peak is that device's.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace ovi {

// Weights take the bytes they take on `device`, which is asked for nothing else. Blocks reserve addresses,
// not memory, and nobody may follow their pointers: doing so dies with SIGSEGV. Operations and copies are
// held to their contracts, as on a device; what is downloaded leaves the host memory as it was.
std::unique_ptr<Backend> MakeDryRunBackend(std::unique_ptr<Backend> device);

}  // namespace ovi
