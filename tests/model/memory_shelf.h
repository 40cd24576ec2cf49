// Streamed weights in memory of a test's own.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/model/streamed_weights.h"

namespace ovi {

class MemoryShelf final : public UnitShelf {
 public:
  absl::Status Stock(std::span<const Item> items, const Fill& fill) override {
    for (const Item& item : items) {
      std::vector<std::byte>& bytes = units_[ToString(item.unit)];
      bytes.resize(static_cast<std::size_t>(item.bytes));
      OVI_RETURN_IF_ERROR(fill(item.unit, bytes));
    }
    return absl::OkStatus();
  }
  std::span<const std::byte> Bytes(FusionUnit unit) const override { return units_.at(ToString(unit)); }

 private:
  std::map<std::string, std::vector<std::byte>> units_;
};

}  // namespace ovi
