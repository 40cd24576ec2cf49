#include "worker/agent/nvml_words.h"

#include <algorithm>
#include <cctype>

#include "worker/agent/nvml_api.h"

namespace ovi {

std::string_view TopologyWord(unsigned level) {
  if (level <= nvml::kTopologySingle) return "PIX";
  if (level <= nvml::kTopologyMultiple) return "PXB";
  if (level <= nvml::kTopologyHostBridge) return "PHB";
  return level <= nvml::kTopologyNode ? "NODE" : "SYS";
}

std::string_view XidFault(unsigned long long xid) {
  // NVIDIA's "Xid Errors": the ones for which it says that the GPU must be reset or replaced. Those left out
  // come from programs (13, 31, 43, 45, ...) or were contained (63, 92, 94).
  switch (xid) {
    case 48:
      return "uncorrectable memory error";
    case 61:
    case 62:
      return "its microcontroller stopped";
    case 64:
      return "a broken memory row could not be recorded";
    case 74:
      return "NVLink error";
    case 79:
      return "it has fallen off the bus";
    case 95:
      return "uncontained memory error";
    case 119:
    case 120:
      return "its system processor (GSP) does not answer";
    case 140:
      return "unrecovered memory error";
    default:
      return "";
  }
}

std::string SysfsPciName(std::string_view bus_id) {
  while (bus_id.starts_with('0') && bus_id.find(':') != std::string_view::npos && bus_id.find(':') > 4)
    bus_id.remove_prefix(1);
  std::string name(bus_id);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

}  // namespace ovi
