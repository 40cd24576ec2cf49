// What NVML's numbers and names mean. Pure.
#pragma once

#include <string>
#include <string_view>

namespace ovi {

// What an Xid (a number that the driver reports for an error of a GPU) says about the GPU itself: "" for
// those that a program caused or that the driver has dealt with; after the others the GPU cannot be trusted
// until it is reset.
std::string_view XidFault(unsigned long long xid);

// What nvidia-smi topo calls a level of nvmlDeviceGetTopologyCommonAncestor: "PIX", "PXB", "PHB", "NODE",
// "SYS".
std::string_view TopologyWord(unsigned level);

// NVML's "00000000:3B:00.0" as folders below /sys/bus/pci/devices are called, "0000:3b:00.0".
std::string SysfsPciName(std::string_view bus_id);

}  // namespace ovi
