// The coordinator, assembled: journal, artifacts, scheduler, gRPC server, metrics.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/config.h"

namespace ovi {

// Serves from Start to its end.
class CoordinatorServer {
 public:
  // Everything that can be refused is refused here, in one line: a folder that cannot be written, a journal
  // that is corrupt or another process's, a port that is taken.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(const CoordinatorConfig& config);
  ~CoordinatorServer();

  // Blocks until `stop_fd` becomes readable (OK) or the journal is lost (that error).
  absl::Status Wait(int stop_fd);

  int port() const;  // 0 for a unix socket

 private:
  struct Parts;
  explicit CoordinatorServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace ovi
