#include "worker/agent/host_facts.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <thread>

#include "absl/status/statusor.h"
#include "base/small_file.h"
#include "base/text.h"

namespace ovi {
namespace {

constexpr std::int64_t kProcBytesMax = 1 << 20;
constexpr std::int64_t kUnlimitedBytes = std::int64_t{1} << 60;

std::string ReadText(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path, kProcBytesMax);
  return text.ok() ? *std::move(text) : std::string();
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool Contains(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::optional<std::int64_t> ParseInt64(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

CgroupFolders FoldersOf(std::string_view controller) {
  return FindCgroupFolders(controller, ReadText("/proc/self/cgroup"), ReadText("/proc/self/mountinfo"));
}

// A limit of any group above counts for the groups below, so all are looked at.
MemoryFigures WithinCgroup(MemoryFigures memory) {
  const CgroupFolders found = FoldersOf("memory");
  for (const std::string& folder : found.folders) {
    const auto read = [&](const char* version_2, const char* version_1) {
      return ParseCgroupBytes(ReadText(folder + "/" + (found.version_2 ? version_2 : version_1)));
    };
    const auto limit = read("memory.max", "memory.limit_in_bytes");
    if (!limit) continue;
    const std::int64_t used = read("memory.current", "memory.usage_in_bytes").value_or(0);
    memory.bytes_total = std::min(memory.bytes_total, *limit);
    memory.bytes_available = std::min(memory.bytes_available, std::max<std::int64_t>(*limit - used, 0));
  }
  return memory;
}

int CoreCount() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  int cores = ::sched_getaffinity(0, sizeof(allowed), &allowed) == 0
                  ? CPU_COUNT(&allowed)
                  : static_cast<int>(std::thread::hardware_concurrency());
  const CgroupFolders found = FoldersOf("cpu");
  for (const std::string& folder : found.folders) {
    std::optional<int> limit;
    if (found.version_2) {
      limit = ParseCpuMax(ReadText(folder + "/cpu.max"));
    } else {
      const std::string quota_text = ReadText(folder + "/cpu.cfs_quota_us");
      const std::string period_text = ReadText(folder + "/cpu.cfs_period_us");
      const auto quota = ParseInt64(Trimmed(quota_text));
      const auto period = ParseInt64(Trimmed(period_text));
      if (quota && period) limit = CoresOfQuota(*quota, *period);
    }
    if (limit) cores = std::min(cores, *limit);
  }
  return std::max(cores, 1);
}

// `path`, or the folder above it that is there: where it will be made.
std::filesystem::path NearestThere(std::filesystem::path path) {
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

}  // namespace

MemoryFigures ParseMeminfo(std::string_view text) {
  MemoryFigures memory;
  for (std::string_view line : Split(text, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !line.ends_with(" kB")) continue;
    const std::string_view name = line.substr(0, colon);
    line.remove_suffix(3);
    const auto kibibytes = ParseInt64(Trimmed(line.substr(colon + 1)));
    if (!kibibytes) continue;
    if (name == "MemTotal") memory.bytes_total = *kibibytes * 1024;
    if (name == "MemAvailable") memory.bytes_available = *kibibytes * 1024;
  }
  return memory;
}

std::string ParseOsName(std::string_view text) {
  constexpr std::string_view kKey = "PRETTY_NAME=";
  for (const std::string_view line : Split(text, '\n')) {
    if (!line.starts_with(kKey)) continue;
    std::string_view name = Trimmed(line.substr(kKey.size()));
    if (name.size() >= 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
    return Escaped(name);
  }
  return "";
}

std::optional<std::int64_t> ParseCgroupBytes(std::string_view text) {
  const auto bytes = ParseInt64(Trimmed(text));
  if (!bytes || *bytes < 0 || *bytes >= kUnlimitedBytes) return std::nullopt;
  return bytes;
}

std::optional<int> CoresOfQuota(std::int64_t quota_us, std::int64_t period_us) {
  if (quota_us <= 0 || period_us <= 0) return std::nullopt;
  return static_cast<int>(std::clamp<std::int64_t>(quota_us / period_us, 1, 1 << 20));
}

std::optional<int> ParseCpuMax(std::string_view text) {
  const std::vector<std::string_view> words = Split(Trimmed(text), ' ');
  if (words.size() != 2) return std::nullopt;
  const auto quota = ParseInt64(words[0]);
  const auto period = ParseInt64(words[1]);
  if (!quota || !period) return std::nullopt;
  return CoresOfQuota(*quota, *period);
}

CgroupFolders FindCgroupFolders(std::string_view controller, std::string_view cgroup_text,
                                std::string_view mountinfo_text) {
  // /proc/self/cgroup, "9:cpu,cpuacct:/path" (version 1) or "0::/path" (version 2). A controller is in one of
  // the two.
  CgroupFolders found;
  std::string path;
  for (const std::string_view line : Split(cgroup_text, '\n')) {
    const std::vector<std::string_view> fields = Split(line, ':');
    if (fields.size() < 3) continue;
    const bool version_2 = fields[0] == "0" && fields[1].empty();
    if (!version_2 && !Contains(Split(fields[1], ','), controller)) continue;
    if (version_2 && !path.empty()) continue;
    found.version_2 = version_2;
    path = line.substr(fields[0].size() + fields[1].size() + 2);
  }
  // /proc/self/mountinfo, "36 35 98:0 <root> <mount point> <options> ... - <type> <source> <super options>".
  for (const std::string_view line : Split(mountinfo_text, '\n')) {
    const std::vector<std::string_view> fields = Split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const bool right = found.version_2 ? dash[1] == "cgroup2"
                                       : dash[1] == "cgroup" && Contains(Split(dash[3], ','), controller);
    if (!right || path.empty()) continue;
    const std::string root(fields[3]), mount_point(fields[4]);
    // Inside a container the mount's root may be our own group: then the path below it is "/".
    std::string below = path;
    if (root != "/" && below.starts_with(root)) below.erase(0, root.size());
    while (!below.empty() && below != "/") {
      found.folders.push_back(mount_point + below);
      below.erase(below.rfind('/'));
    }
    found.folders.push_back(mount_point);
    return found;
  }
  return found;
}

std::string ReadBootId() {
  return std::string(Trimmed(ReadText("/proc/sys/kernel/random/boot_id")));
}

std::string ReadHostname() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

v1::HostFacts ReadHostFacts(const std::string& disk_path) {
  v1::HostFacts facts;
  facts.set_hostname(Escaped(ReadHostname()));
  facts.set_boot_id(ReadBootId());
  facts.set_core_count(CoreCount());
  const MemoryFigures memory = WithinCgroup(ParseMeminfo(ReadText("/proc/meminfo")));
  facts.set_memory_bytes_total(memory.bytes_total);
  facts.set_memory_bytes_available(memory.bytes_available);
  struct statvfs disk {};
  if (::statvfs(NearestThere(disk_path).c_str(), &disk) == 0) {
    facts.set_disk_bytes_total(static_cast<std::int64_t>(disk.f_blocks * disk.f_frsize));
    facts.set_disk_bytes_free(static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize));
  }
  std::string os = ParseOsName(ReadText("/etc/os-release"));
  utsname kernel{};
  if (::uname(&kernel) == 0)
    os += (os.empty() ? "" : ", ") + std::string(kernel.sysname) + " " + kernel.release;
  facts.set_os(Escaped(os));
  return facts;
}

}  // namespace ovi
