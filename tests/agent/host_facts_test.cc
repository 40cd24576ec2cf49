// Texts of /proc and /sys, as real machines and containers have them.
#include "worker/agent/host_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ParseMeminfo, ReadsTotalAndAvailable) {
  const MemoryFigures memory = ParseMeminfo(
      "MemTotal:       24684084 kB\nMemFree:        21000000 kB\nMemAvailable:   22985280 "
      "kB\nHugePages_Total:       0\n");
  EXPECT_EQ(memory.bytes_total, std::int64_t{24684084} * 1024);
  EXPECT_EQ(memory.bytes_available, std::int64_t{22985280} * 1024);
}

TEST(ParseMeminfo, IsZeroForWhatIsNotThere) {
  for (const char* text : {"", "MemTotal:", "MemTotal: many kB", "MemTotal: 5 MB", "\n\n:\n"}) {
    EXPECT_EQ(ParseMeminfo(text).bytes_total, 0) << text;
  }
}

TEST(ParseOsName, TakesThePrettyName) {
  EXPECT_EQ(ParseOsName("NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"),
            "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(ParseOsName("PRETTY_NAME=Plain"), "Plain");
  EXPECT_EQ(ParseOsName("NAME=x\n"), "");
}

TEST(CgroupFigures, KnowWhatIsNoLimit) {
  EXPECT_EQ(ParseCgroupBytes("8589934592\n"), std::int64_t{8} << 30);
  for (const char* none : {"max\n", "9223372036854771712\n", "", "-1", "12x"}) {
    EXPECT_EQ(ParseCgroupBytes(none), std::nullopt) << none;
  }
  EXPECT_EQ(ParseCpuMax("200000 100000\n"), 2);
  EXPECT_EQ(ParseCpuMax("250000 100000"), 2) << "only whole cores count";
  EXPECT_EQ(ParseCpuMax("50000 100000"), 1) << "but at least one";
  for (const char* none : {"max 100000\n", "", "100000", "1 2 3", "100000 0"}) {
    EXPECT_EQ(ParseCpuMax(none), std::nullopt) << none;
  }
  EXPECT_EQ(CoresOfQuota(-1, 100000), std::nullopt) << "how version 1 says unlimited";
  EXPECT_EQ(CoresOfQuota(400000, 100000), 4);
}

TEST(CgroupFolders, OfVersion2GoUpFromOurGroupToTheMount) {
  const CgroupFolders found =
      FindCgroupFolders("memory", "0::/system.slice/ovi-agent.service\n",
                        "24 30 0:22 / /proc rw - proc proc rw\n"
                        "35 30 0:31 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  EXPECT_TRUE(found.version_2);
  EXPECT_THAT(found.folders, ElementsAre("/sys/fs/cgroup/system.slice/ovi-agent.service",
                                         "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"));
}

TEST(CgroupFolders, OfVersion1AreThoseOfTheController) {
  const char* const groups = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n";
  const char* const mounts =
      "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
      "33 30 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
  const CgroupFolders memory = FindCgroupFolders("memory", groups, mounts);
  EXPECT_FALSE(memory.version_2);
  EXPECT_THAT(memory.folders, ElementsAre("/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/memory/docker",
                                          "/sys/fs/cgroup/memory"));
  EXPECT_THAT(FindCgroupFolders("cpu", groups, mounts).folders.back(), "/sys/fs/cgroup/cpu");
}

TEST(CgroupFolders, InsideAContainerBeginAtTheMount) {
  // The container sees its own group mounted as the root, but its path from outside.
  const CgroupFolders found =
      FindCgroupFolders("memory", "4:memory:/docker/abc\n",
                        "34 30 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  EXPECT_THAT(found.folders, ElementsAre("/sys/fs/cgroup/memory"));
}

TEST(CgroupFolders, AreNoneWithoutTheController) {
  EXPECT_THAT(FindCgroupFolders("memory", "", "").folders, IsEmpty());
  EXPECT_THAT(FindCgroupFolders("memory", "4:memory:/a\n", "broken\nlines - here\n").folders, IsEmpty());
}

TEST(HostFacts, OfThisMachineAreSensible) {
  const v1::HostFacts facts = ReadHostFacts("/no/such/folder");
  EXPECT_EQ(facts.hostname(), ReadHostname());
  EXPECT_EQ(facts.boot_id(), ReadBootId());
  EXPECT_GE(facts.core_count(), 1);
  EXPECT_LE(facts.core_count(), ::sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_GT(facts.memory_bytes_available(), 0);
  EXPECT_LE(facts.memory_bytes_available(), facts.memory_bytes_total());
  EXPECT_GT(facts.disk_bytes_total(), 0) << "of the disk that the folder would be on";
  EXPECT_LE(facts.disk_bytes_free(), facts.disk_bytes_total());
  EXPECT_NE(facts.os(), "");
}

}  // namespace
}  // namespace ovi
