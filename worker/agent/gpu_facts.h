// From what a GPU says to what the coordinator is told. Pure.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "base/process_info.h"
#include "ovi/v1/node.pb.h"
#include "worker/agent/gpu_reader.h"
#include "worker/agent/groups.h"

namespace ovi {

// The processes of the living groups.
std::set<pid_t> OurProcesses(std::span<const ProcessInfo> processes, std::span<const LivingGroup> groups);

// What is in use on it and not by us. Where the driver does not say how much a process of ours uses, it is
// taken for what its groups may use there.
std::int64_t BytesForeign(const GpuReading& gpu, const std::set<pid_t>& ours,
                          std::span<const LivingGroup> groups);

v1::Gpu GpuFacts(const GpuReading& gpu, const std::set<pid_t>& ours, std::span<const LivingGroup> groups);

// Whether the coordinator should hear of `now` before its time: a GPU fell ill or well, or the memory others
// use on it changed by more than 64 MiB.
bool IsNews(const google::protobuf::RepeatedPtrField<v1::Gpu>& told,
            const google::protobuf::RepeatedPtrField<v1::Gpu>& now);

}  // namespace ovi
