// The transformer's streamed weights in one mapped file, in the layout of the device: made once, used by all
// ranks of a node and by every later run. The system keeps what it has memory for of it, and no copy.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/model/streamed_weights.h"

namespace ovi {

// `identity` says what the units' bytes follow from: files, adapters, formats. Equal ones share a file below
// `cache_dir`, which is made where it is missing. Of files that nobody uses, the two used last are kept.
//
// Stock waits while another process makes the file. FAILED_PRECONDITION for a folder that cannot be used,
// RESOURCE_EXHAUSTED, with the bytes needed and free, where the disk has no room, and what PartFile says.
std::unique_ptr<UnitShelf> MakeUnitFile(const std::string& cache_dir, const std::string& identity);

}  // namespace ovi
