// The Communicator over MPI, for ranks without NCCL between them: on the CPU, on several nodes, and where
// ranks share a device.
//
// MPI is to be started before (worker/group's MpiSession) and ended after. MpiSession starts it so that one
// thread may call it (MPI_THREAD_FUNNELED), so all of these calls come from the thread that started it, which
// is the one that computes. With a higher level any thread may, but still one at a time: nothing here locks.
//
// A rank that waits polls: without a pause while messages come in, then in naps that grow, so that ranks
// which share a core let each other compute. A rank that dies is not noticed here but by mpirun, which ends
// the others; over sockets a lost peer is UNAVAILABLE. A rank that stands still is for the interruption to
// notice.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/parallel/communicator.h"

namespace ovi {

// Whether MPI may follow the addresses of the streams' device: kDirect for one whose memory is the host's,
// else kStaged, by way of a copy in host memory.
enum class DeviceAccess { kDirect, kStaged };

struct MpiCommunicatorOptions {
  DeviceAccess access = DeviceAccess::kDirect;
  // Larger messages go in chunks of so many bytes, at most 2^31 - 1; the same on all ranks. Measured through
  // shared memory, 64 KiB to 256 MiB a peer: as fast as MPI_Ialltoallv with 2 ranks on 2 cores (5.1 GB/s at
  // 8 MiB), and up to 1.7 times as fast with 4; 512 KiB is no faster, 4 MiB half as fast.
  std::int64_t chunk_bytes = std::int64_t{256} << 10;
};

// All ranks of the process's world, which call it together.
absl::StatusOr<std::unique_ptr<Communicator>> NewMpiCommunicator(const MpiCommunicatorOptions& options);

}  // namespace ovi
