// The command line and environment of a group, to the letter.
#include "worker/agent/mpirun_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ovi {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

MpirunRequest Request(int world_size) {
  return {.mpirun = "/usr/bin/mpirun",
          .worker = "/opt/ovi/bin/ovi-worker",
          .group_dir = "/var/lib/ovi/groups/g1-1",
          .scratch_dir = "/dev/shm/ovi-0123",
          .world_size = world_size,
          .threads_per_rank = 4,
          .base_environment = {"PATH=/usr/bin", "HOME=/root"}};
}

TEST(MpirunCommand, StartsSeveralRanksThroughMpirun) {
  MpirunRequest request = Request(2);
  request.cuda_visible_devices = "GPU-aaaa,GPU-bbbb";
  request.models_dir = "/srv/models";
  request.tls_ca_file = "/etc/ovi/ca.pem";
  const MpirunCommandLine command = MpirunCommand(request);
  EXPECT_THAT(command.argv, ElementsAre("/usr/bin/mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none",
                                        "--tag-output", "/opt/ovi/bin/ovi-worker", "group", "--group-dir",
                                        "/var/lib/ovi/groups/g1-1"));
  EXPECT_THAT(command.environment,
              ElementsAre("CUDA_VISIBLE_DEVICES=GPU-aaaa,GPU-bbbb",
                          "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/etc/ovi/ca.pem", "HOME=/root",
                          "OMPI_MCA_btl=vader,self", "OMPI_MCA_btl_vader_backing_directory=/dev/shm/ovi-0123",
                          "OMPI_MCA_btl_vader_single_copy_mechanism=none", "OMPI_MCA_mpi_yield_when_idle=1",
                          "OMPI_MCA_mtl=^ofi,psm,psm2", "OMPI_MCA_odls_base_sigkill_timeout=0",
                          "OMPI_MCA_orte_tmpdir_base=/dev/shm/ovi-0123", "OMPI_MCA_osc=sm",
                          "OMPI_MCA_plm=isolated", "OMPI_MCA_pml=ob1", "OMP_NUM_THREADS=4",
                          "OMP_WAIT_POLICY=passive", "OVI_GROUP_DIR=/var/lib/ovi/groups/g1-1",
                          "OVI_MODELS_DIR=/srv/models", "PATH=/usr/bin", "PMIX_MCA_gds=hash"));
}

TEST(MpirunCommand, AllowsRootOnlyToRoot) {
  MpirunRequest request = Request(2);
  EXPECT_THAT(MpirunCommand(request).argv, Not(Contains("--allow-run-as-root")));
  request.as_root = true;
  EXPECT_THAT(MpirunCommand(request).argv, Contains("--allow-run-as-root"));
}

TEST(MpirunCommand, StartsOneRankWithoutMpirun) {
  MpirunRequest request = Request(1);
  request.as_root = true;
  const MpirunCommandLine command = MpirunCommand(request);
  EXPECT_THAT(command.argv,
              ElementsAre("/opt/ovi/bin/ovi-worker", "group", "--group-dir", "/var/lib/ovi/groups/g1-1"));
  EXPECT_THAT(command.environment, Contains("OMPI_MCA_pmix=isolated"));
  EXPECT_THAT(command.environment, Contains("OMPI_MCA_ess_singleton_isolated=1"));
}

TEST(MpirunCommand, HidesAllGpusFromRanksThatComputeOnTheCpu) {
  EXPECT_THAT(MpirunCommand(Request(1)).environment, Contains("CUDA_VISIBLE_DEVICES="));
}

TEST(MpirunCommand, LeavesOutWhatTheAgentWasStartedWith) {
  MpirunRequest request = Request(2);
  request.base_environment = {
      "OMPI_COMM_WORLD_RANK=3", "PMIX_RANK=3",  "SLURM_JOB_ID=7",         "PBS_JOBID=1",
      "OMP_NUM_THREADS=64",     "LANG=C.UTF-8", "CUDA_VISIBLE_DEVICES=5", "not a variable"};
  const std::vector<std::string> environment = MpirunCommand(request).environment;
  for (const char* gone : {"OMPI_COMM_WORLD_RANK=3", "PMIX_RANK=3", "SLURM_JOB_ID=7", "PBS_JOBID=1",
                           "OMP_NUM_THREADS=64", "CUDA_VISIBLE_DEVICES=5"}) {
    EXPECT_THAT(environment, Not(Contains(gone)));
  }
  EXPECT_THAT(environment, Contains("LANG=C.UTF-8"));
}

TEST(MpirunCommand, LetsTheConfigurationHaveTheLastWord) {
  MpirunRequest request = Request(2);
  request.extra_environment = {"OMPI_MCA_btl=tcp,self", "EMPTY=", "EQUALS=a=b"};
  const std::vector<std::string> environment = MpirunCommand(request).environment;
  EXPECT_THAT(environment, Contains("OMPI_MCA_btl=tcp,self"));
  EXPECT_THAT(environment, Not(Contains("OMPI_MCA_btl=vader,self")));
  EXPECT_THAT(environment, Contains("EMPTY="));
  EXPECT_THAT(environment, Contains("EQUALS=a=b"));
}

}  // namespace
}  // namespace ovi
