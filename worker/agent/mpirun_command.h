// The command that starts a group on this node: arguments and environment. Pure.
#pragma once

#include <string>
#include <vector>

namespace ovi {

struct MpirunRequest {
  std::string mpirun;       // program
  std::string worker;       // ovi-worker
  std::string group_dir;    // absolute
  std::string scratch_dir;  // for Open MPI's own files, above all its shared memory
  int world_size = 1;
  int threads_per_rank = 1;
  // UUIDs joined by commas: rank i computes on the i-th. "" hides all GPUs, for ranks that compute on the
  // CPU.
  std::string cuda_visible_devices;
  std::string models_dir;   // "" = the worker's own choice
  std::string tls_ca_file;  // "" = the system's
  bool as_root = false;
  std::vector<std::string> base_environment;   // the agent's own, "NAME=value"
  std::vector<std::string> extra_environment;  // from the configuration; the last word
};

struct MpirunCommandLine {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // sorted, no name twice
};

// A single rank starts without mpirun, as what MPI calls a singleton: 26 ms until MPI_Init returns in place
// of 128 (two cores, Open MPI 4.1.4), and one process less that can die. No secret is in the command: the
// group's token is in a file of its folder.
MpirunCommandLine MpirunCommand(const MpirunRequest& request);

}  // namespace ovi
