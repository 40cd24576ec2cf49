// The backend that runs on the processor: the reference for the others, and the one that needs no device.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace ovi {

// Operations run at once, in the calling thread and the OpenMP team it starts.
std::unique_ptr<Backend> MakeCpuBackend();

}  // namespace ovi
