#include "worker/agent/mpirun_command.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/agent/process_tree.h"

namespace ovi {
namespace {

// What an agent may itself have been started with, by mpirun or inside a batch job: with any of it in place
// Open MPI would take the group for a part of that job.
constexpr std::array<std::string_view, 6> kForeignPrefixes = {"OMPI_", "PMIX_",  "PMI_",
                                                              "ORTE_", "SLURM_", "PBS_"};

// One node, shared memory. Of the time that starting two ranks takes by default, looking for PSM and PSM2
// hardware costs 80 to 90 ms each; with the kill timeout mpirun returns a second after a rank died rather
// than at once. Copying twice through shared memory is 1.5 to 2.5 times as fast as CMA up to 4 MiB (measured,
// Open MPI 4.1.4).
constexpr std::pair<std::string_view, std::string_view> kFastSettings[] = {
    {"OMPI_MCA_btl", "vader,self"},
    {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
    {"OMPI_MCA_mtl", "^ofi,psm,psm2"},
    {"OMPI_MCA_odls_base_sigkill_timeout", "0"},
    {"OMPI_MCA_osc", "sm"},
    {"OMPI_MCA_plm", "isolated"},
    {"OMPI_MCA_pml", "ob1"},
    {"PMIX_MCA_gds", "hash"},
    // Ranks may share cores: who waits lets the others run.
    {"OMPI_MCA_mpi_yield_when_idle", "1"},
    {"OMP_WAIT_POLICY", "passive"},
};

// No server to look for and none to start.
constexpr std::pair<std::string_view, std::string_view> kSingletonSettings[] = {
    {"OMPI_MCA_ess_singleton_isolated", "1"},
    {"OMPI_MCA_pmix", "isolated"},
};

bool IsForeign(std::string_view variable) {
  return std::any_of(kForeignPrefixes.begin(), kForeignPrefixes.end(),
                     [&](std::string_view prefix) { return variable.starts_with(prefix); });
}

std::vector<std::string> Environment(const MpirunRequest& request) {
  std::map<std::string, std::string> variables;
  const auto set = [&](std::string_view variable) {
    const std::size_t equals = variable.find('=');
    if (equals == std::string_view::npos) return;
    variables[std::string(variable.substr(0, equals))] = std::string(variable.substr(equals + 1));
  };
  for (const std::string& variable : request.base_environment) {
    if (!IsForeign(variable)) set(variable);
  }
  for (const auto& [name, value] : kFastSettings) variables[std::string(name)] = std::string(value);
  if (request.world_size == 1) {
    for (const auto& [name, value] : kSingletonSettings) variables[std::string(name)] = std::string(value);
  }
  // What a killed mpirun leaves there (4 MiB of shared memory a rank) goes with the folder.
  variables["OMPI_MCA_btl_vader_backing_directory"] = request.scratch_dir;
  variables["OMPI_MCA_orte_tmpdir_base"] = request.scratch_dir;
  set(GroupMark(request.group_dir));
  variables["CUDA_VISIBLE_DEVICES"] = request.cuda_visible_devices;
  variables["OMP_NUM_THREADS"] = absl::StrCat(request.threads_per_rank);
  if (!request.models_dir.empty()) variables["OVI_MODELS_DIR"] = request.models_dir;
  if (!request.tls_ca_file.empty()) variables["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = request.tls_ca_file;
  for (const std::string& variable : request.extra_environment) set(variable);

  std::vector<std::string> sorted;
  for (const auto& [name, value] : variables) sorted.push_back(absl::StrCat(name, "=", value));
  return sorted;
}

}  // namespace

MpirunCommandLine MpirunCommand(const MpirunRequest& request) {
  MpirunCommandLine command;
  if (request.world_size > 1) {
    command.argv = {request.mpirun,    "-np",       absl::StrCat(request.world_size),
                    "--oversubscribe", "--bind-to", "none",
                    "--tag-output"};
    if (request.as_root) command.argv.push_back("--allow-run-as-root");
  }
  command.argv.insert(command.argv.end(), {request.worker, "group", "--group-dir", request.group_dir});
  command.environment = Environment(request);
  return command;
}

}  // namespace ovi
