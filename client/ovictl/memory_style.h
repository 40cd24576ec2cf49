// How pictures of memory tell its uses apart, and the unit of their figures. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "client/ovictl/table.h"
#include "kernels/arena.h"
#include "worker/plan/plan_table.h"

namespace ovi::client {

struct UseStyle {
  const char* name;   // in JSON
  const char* words;  // in a legend
  char letter;        // in a bar of text
  Tint tint;
  const char* colour;  // in a drawing
};
// By MemoryUse, in the order in which bars are filled.
inline constexpr std::array<std::pair<MemoryUse, UseStyle>, kMemoryUses> kUseStyles = {{
    {MemoryUse::kWeights, {"weights", "weights", 'W', Tint::kBusy, "#4477aa"}},
    {MemoryUse::kWeightBuffers,
     {"weight_buffers", "buffers for streamed weights", 'B', Tint::kGood, "#66ccee"}},
    {MemoryUse::kActivations, {"activations", "activations", 'A', Tint::kWarning, "#ccbb44"}},
    {MemoryUse::kCommunication, {"communication", "communication", 'C', Tint::kBad, "#ee6677"}},
}};

inline std::int64_t BytesOf(const StageNeed& stage, MemoryUse use) {
  return stage.by_use[static_cast<std::size_t>(use)];
}

// One unit for all figures of a table, so that they can be compared at a glance.
struct ByteUnit {
  const char* name;
  double bytes;

  std::string Format(std::int64_t value) const;  // "11.4"
};

ByteUnit UnitFor(const ovi::PlanTable& table);

}  // namespace ovi::client
