#include "client/ovictl/memory_style.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace ovi::client {

std::string ByteUnit::Format(std::int64_t value) const {
  return absl::StrFormat("%.1f", static_cast<double>(value) / bytes);
}

ByteUnit UnitFor(const ovi::PlanTable& table) {
  std::int64_t most = 0;
  for (const PlanRow& row : table.rows) most = std::max(most, row.plan.bytes_peak);
  if (most >= std::int64_t{1} << 30) return {"GiB", 1 << 30};
  return {"MiB", 1 << 20};
}

}  // namespace ovi::client
