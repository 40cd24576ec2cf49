// A rank of a group whose other ranks are not there: nothing moves, everything is counted. With the dry-run
// backend, it finds what one rank of any group takes and sends.
#pragma once

#include <memory>

#include "worker/parallel/communicator.h"

namespace ovi {

// As rank `rank` of `size`. What is received leaves the memory as it was. Communicators split from it count
// for themselves and, where `total` is given, all of them there.
std::unique_ptr<Communicator> MakeDryRunCommunicator(int rank, int size, CommunicatorCounts* total = nullptr);

}  // namespace ovi
