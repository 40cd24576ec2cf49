// What an agent tells the group it starts: two files in a folder of the group's own, which the group reads
// before anything else.
//
//   <dir>/group.json   the facts below
//   <dir>/token        what rank 0 shows the coordinator, mode 0600: never in argv, environment or logs
//
// Knows no MPI and no gRPC, so that the agent links it too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

struct GroupFacts {
  std::string group_id;          // [A-Za-z0-9._-], 1..128
  std::string node;              // likewise
  std::vector<int> gpu_indices;  // rank i computes on the i-th: as many as ranks
  std::int64_t bytes_per_rank = 0;
  std::vector<int> rank_shares;     // how fast each rank is beside the others, 1..1000; empty = all alike
  std::string model_name;           // a folder of models_dir, never a path
  std::string models_dir;           // "" = the models that came with the program
  std::string weights_dir;          // "" = beside the configuration
  std::string coordinator_address;  // host:port, or unix:path
  std::int64_t idle_timeout_ms = 0;
  bool insecure = false;     // plain HTTP/2: loopback and trusted networks
  int threads_per_rank = 0;  // 0 = the node's cores shared out among its ranks

  bool operator==(const GroupFacts&) const = default;
};

// INVALID_ARGUMENT names the field and what is wrong with it. Reading and writing check by it.
absl::Status CheckGroupFacts(const GroupFacts& facts);

// Each file appears whole or not at all. `dir` exists. Errors are those of CheckGroupFacts, WriteSecretFile
// and PartFile.
absl::Status WriteGroupFiles(const std::string& dir, const GroupFacts& facts, const std::string& token);

// NOT_FOUND, INVALID_ARGUMENT "<path>: <field> ...".
absl::StatusOr<GroupFacts> ReadGroupFacts(const std::string& dir);
// Errors are those of ReadSecretFile.
absl::StatusOr<std::string> ReadGroupToken(const std::string& dir);

}  // namespace ovi
