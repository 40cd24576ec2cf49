// What the node is made of, as far as this process may use it: limits of its control group count.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ovi/v1/node.pb.h"

namespace ovi {

// A fresh look at everything; fields that the system does not tell stay 0 or "". `disk_path`: an absolute
// folder, which need not be there yet.
v1::HostFacts ReadHostFacts(const std::string& disk_path);

// New after every boot; "" where the kernel does not tell.
std::string ReadBootId();
std::string ReadHostname();

// The rest is pure: texts of /proc and /sys in, figures out.

struct MemoryFigures {
  std::int64_t bytes_total = 0;
  std::int64_t bytes_available = 0;
};
// /proc/meminfo. Zeros for what is not there.
MemoryFigures ParseMeminfo(std::string_view text);

// PRETTY_NAME of /etc/os-release; "" where there is none.
std::string ParseOsName(std::string_view text);

// A figure of a control group: nullopt for "max", for anything that is no whole number, and for version 1's
// way to say unlimited (the largest page count).
std::optional<std::int64_t> ParseCgroupBytes(std::string_view text);
// cpu.max ("200000 100000"), as whole cores, at least 1; nullopt without a limit.
std::optional<int> ParseCpuMax(std::string_view text);
// cpu.cfs_quota_us and cpu.cfs_period_us of version 1, likewise.
std::optional<int> CoresOfQuota(std::int64_t quota_us, std::int64_t period_us);

// Where a controller's files of this process are: from its own group's folder up to the root of what is
// mounted. `cgroup_text`: /proc/self/cgroup; `mountinfo_text`: /proc/self/mountinfo. Empty where there is no
// such controller.
struct CgroupFolders {
  bool version_2 = false;
  std::vector<std::string> folders;
};
CgroupFolders FindCgroupFolders(std::string_view controller, std::string_view cgroup_text,
                                std::string_view mountinfo_text);

}  // namespace ovi
