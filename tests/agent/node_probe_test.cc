// Looking at the node without waiting for a driver that hangs.
#include "worker/agent/node_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace ovi {
namespace {

using std::chrono::milliseconds;

// Says what the test wants; may hang.
class ScriptedReader final : public GpuReader {
 public:
  std::vector<GpuReading> Read() override {
    if (hang) {
      hanging.set_value();
      go_on.get_future().wait();
      hang = false;
    }
    return {{.index = 0, .name = "a", .uuid = "GPU-0", .bytes_total = 24, .bytes_used = bytes_used}};
  }

  std::atomic<std::int64_t> bytes_used = 0;
  std::atomic<bool> hang = false;
  std::promise<void> hanging, go_on;
};

class NodeProbeTest : public testing::Test {
 protected:
  NodeProbeTest() {
    auto owned = std::make_unique<ScriptedReader>();
    reader = owned.get();
    probe = std::make_unique<NodeProbe>(NodeProbe::Parts{.gpus = std::move(owned),
                                                         .disk_path = "/",
                                                         .living = [] { return std::vector<LivingGroup>(); },
                                                         .news = [this] { news.set_value(); }});
  }

  ScriptedReader* reader;
  std::promise<void> news;
  std::unique_ptr<NodeProbe> probe;
};

TEST_F(NodeProbeTest, HasLookedBeforeItStarts) {
  const v1::NodeReport report = probe->Latest();
  ASSERT_EQ(report.gpus_size(), 1);
  EXPECT_EQ(report.gpus(0).name(), "a");
  EXPECT_GT(report.host().core_count(), 0);
}

TEST_F(NodeProbeTest, SaysAtOnceWhenMemoryIsTakenByOthers) {
  probe->Start(milliseconds(1));
  reader->bytes_used = 1 << 30;
  ASSERT_EQ(news.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(probe->Latest().gpus(0).bytes_foreign(), 1 << 30);
  EXPECT_TRUE(probe->Stop(std::chrono::seconds(30)));
}

TEST_F(NodeProbeTest, DoesNotWaitForADriverThatHangs) {
  reader->hang = true;
  probe->Start(milliseconds(1));
  ASSERT_EQ(reader->hanging.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(probe->Latest().gpus(0).health(), v1::GPU_HEALTH_OK) << "not for long enough yet";
  const auto later = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const v1::Gpu gpu = probe->Latest(later).gpus(0);
  EXPECT_EQ(gpu.health(), v1::GPU_HEALTH_FAULTY);
  EXPECT_THAT(gpu.fault(), testing::MatchesRegex("the driver has not answered for (59|60) s"));
  EXPECT_FALSE(probe->Stop(milliseconds(0)));
  reader->go_on.set_value();
  EXPECT_TRUE(probe->Stop(std::chrono::seconds(30)));
}

}  // namespace
}  // namespace ovi
