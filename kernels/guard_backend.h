// A backend that catches whoever touches device memory behind the backend's back.
//
// It wraps the CPU backend and keeps the pages of every block inaccessible except while one of its own calls
// runs, so a model that follows a tensor's pointer dies with SIGSEGV, as it would with a GPU's memory. Tests
// run on it.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace ovi {

// `inner` must allocate its blocks by mmap in host memory. One stream at a time may be in use.
std::unique_ptr<Backend> MakeGuardBackend(std::unique_ptr<Backend> inner);

}  // namespace ovi
