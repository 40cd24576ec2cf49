// A pickle reader that builds values and runs nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

// The only globals a pickle may name; any other is refused by its name.
enum class PickleGlobal {
  kOrderedDict,
  kRebuildTensor,     // torch._utils._rebuild_tensor_v2
  kRebuildParameter,  // torch._utils._rebuild_parameter
  kFloatStorage,
  kBFloat16Storage,
  kHalfStorage,
  kDoubleStorage,
  kLongStorage,
  kIntStorage,
  kByteStorage,
};

// Index of a value in Pickle::values. Values refer to each other by id, so what Python shares is shared here,
// and a list that contains itself is only a cycle of numbers: whoever follows ids bounds the depth.
using PickleId = std::uint32_t;

struct PickleValue {
  enum class Kind {
    kNone,
    kBool,          // integer: 0 or 1
    kInt,           // integer
    kFloat,         // value not kept: no tensor needs one
    kString,        // text
    kTuple,         // items
    kList,          // items
    kDict,          // items: key, value, key, value, ...; an OrderedDict is one too
    kGlobal,        // global
    kCall,          // global (a kRebuild...) called with items
    kPersistentId,  // items: the one value that names the object, a tuple in torch files
  };

  Kind kind = Kind::kNone;
  PickleGlobal global = PickleGlobal::kOrderedDict;
  std::int64_t integer = 0;
  std::string_view text;  // lives as long as the parsed bytes
  std::vector<PickleId> items;
};

struct Pickle {
  std::vector<PickleValue> values;
  PickleId root = 0;
  std::size_t bytes = 0;  // of the input, up to and with STOP

  const PickleValue& at(PickleId id) const { return values[id]; }
  // The value under the string `key` of a dict; the last one, as in Python.
  const PickleValue* Get(const PickleValue& dict, std::string_view key) const;
};

// Reads one pickle of protocol 2 to 4 from the front of `bytes`. Knows the opcodes that plain containers,
// numbers, strings and the globals above need; attributes set on an OrderedDict are dropped. INVALID_ARGUMENT
// gives the byte and what was wrong there. At most 2 million values and 64 MiB of input: memory stays below
// 0.5 GB whatever comes.
absl::StatusOr<Pickle> ParsePickle(std::span<const std::byte> bytes);

}  // namespace ovi
