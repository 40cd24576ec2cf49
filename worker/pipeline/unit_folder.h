// The transformer's streamed weights in mapped files, one a unit, in the layout of the device: each made
// once, used by all ranks of a node and by every later run, however many units that one streams. The system
// keeps what it has memory for of them, and no copy.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/model/streamed_weights.h"

namespace ovi {

// `identity` says what the units' bytes follow from: files, adapters, formats. Equal ones share a folder
// below `cache_dir`, which is made where it is missing. Of folders that nobody uses, the two used last are
// kept, and fewer where the disk would else have no room.
//
// Stock waits while another process makes files of the folder; what a process that was interrupted has made
// stays. FAILED_PRECONDITION for a folder that cannot be used and, with the bytes needed and free, for a disk
// without room (RESOURCE_EXHAUSTED is about memory, which another vram_mode would change).
std::unique_ptr<UnitShelf> MakeUnitFolder(const std::string& cache_dir, const std::string& identity);

}  // namespace ovi
