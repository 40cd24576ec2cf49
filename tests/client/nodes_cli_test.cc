// ovictl nodes, drain, resume.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

v1::Node ReadyNode(const std::string& name) {
  v1::Node node;
  node.set_name(name);
  node.set_state(v1::NODE_STATE_READY);
  v1::Gpu* gpu = node.add_gpus();
  gpu->set_name("RTX 3090");
  gpu->set_bytes_total(std::int64_t{24} << 30);
  gpu->set_health(v1::GPU_HEALTH_OK);
  node.add_gpu_bytes_reserved(std::int64_t{4} << 30);
  return node;
}

struct NodesTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  NodesTest() { cluster.SetNodes({ReadyNode("gpu-a"), ReadyNode("gpu-b")}); }
};

TEST_F(NodesTest, ListsNodes) {
  EXPECT_EQ(home.Run({"nodes"}).out,
            "NODE   STATE  GPU  NAME         TOTAL      FREE  RESERVED\n"
            "gpu-a  READY    0  RTX 3090  24.0 GiB  20.0 GiB   4.0 GiB\n"
            "gpu-b  READY    0  RTX 3090  24.0 GiB  20.0 GiB   4.0 GiB\n");
  EXPECT_EQ(home.Run({"nodes", "-q"}).out, "gpu-a\ngpu-b\n");
  const OvictlRun json = home.Run({"nodes", "--json"});
  ASSERT_THAT(LinesOf(json.out), SizeIs(2));
  EXPECT_EQ(nlohmann::json::parse(LinesOf(json.out)[1])["name"], "gpu-b");
  EXPECT_THAT(home.Run({"nodes", "gpu-b"}).out, AllOf(HasSubstr("gpu-b  READY"), Not(HasSubstr("gpu-a"))));
  EXPECT_EQ(nlohmann::json::parse(home.Run({"nodes", "gpu-b", "--json"}).out)["state"], "NODE_STATE_READY");
  const OvictlRun unknown = home.Run({"nodes", "gpu-c"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_EQ(unknown.err, "ovictl: no node gpu-c\n");
}

TEST_F(NodesTest, DrainsAndResumes) {
  EXPECT_EQ(home.Run({"drain", "gpu-a", "--reason", "new fan"}).out, "gpu-a DRAINED\n");
  EXPECT_THAT(home.Run({"nodes", "gpu-a"}).out, HasSubstr("drained     new fan\n"));
  EXPECT_EQ(home.Run({"resume", "gpu-a"}).out, "gpu-a READY\n");
  EXPECT_EQ(home.Run({"drain", "gpu-c", "--reason", "x"}).exit_code, 1);
  EXPECT_EQ(home.Run({"resume", "gpu-c"}).exit_code, 1);
}

}  // namespace
}  // namespace ovi::client
