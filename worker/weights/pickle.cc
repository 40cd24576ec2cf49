#include "worker/weights/pickle.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/byte_reader.h"
#include "worker/weights/pickle_opcodes.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

using Kind = PickleValue::Kind;

constexpr std::size_t kBytesMax = std::size_t{64} << 20;
constexpr std::size_t kValuesMax = 2'000'000;  // a tensor takes some 18; the fusion model has 2073 of them
// The stack and the lists values keep may hold ids without making values (BINGET), so they have a limit of
// their own.
constexpr std::size_t kIdsMax = 2 * kValuesMax;

struct GlobalName {
  std::string_view module;
  std::string_view name;
  PickleGlobal global;
};

constexpr std::array kGlobals = {
    GlobalName{"collections", "OrderedDict", PickleGlobal::kOrderedDict},
    GlobalName{"torch._utils", "_rebuild_tensor_v2", PickleGlobal::kRebuildTensor},
    GlobalName{"torch._utils", "_rebuild_parameter", PickleGlobal::kRebuildParameter},
    GlobalName{"torch", "FloatStorage", PickleGlobal::kFloatStorage},
    GlobalName{"torch", "BFloat16Storage", PickleGlobal::kBFloat16Storage},
    GlobalName{"torch", "HalfStorage", PickleGlobal::kHalfStorage},
    GlobalName{"torch", "DoubleStorage", PickleGlobal::kDoubleStorage},
    GlobalName{"torch", "LongStorage", PickleGlobal::kLongStorage},
    GlobalName{"torch", "IntStorage", PickleGlobal::kIntStorage},
    GlobalName{"torch", "ByteStorage", PickleGlobal::kByteStorage},
};

class Machine {
 public:
  explicit Machine(std::span<const std::byte> bytes) : reader_(bytes) {}

  absl::StatusOr<Pickle> Run() {
    while (true) {
      const std::size_t position = reader_.position();
      absl::StatusOr<bool> stopped = Step();
      if (!stopped.ok()) return Annotate(stopped.status(), absl::StrCat("pickle byte ", position));
      if (*stopped) break;
    }
    pickle_.bytes = reader_.position();
    return std::move(pickle_);
  }

 private:
  static absl::Status Error(std::string_view what) { return absl::InvalidArgumentError(std::string(what)); }
  static absl::Status CutShort() { return Error("the pickle is cut short"); }

  // Carries out one opcode; true for STOP.
  absl::StatusOr<bool> Step() {
    const auto opcode = reader_.Read<std::uint8_t>();
    if (!opcode) return CutShort();
    if (*opcode == pickle_op::kStop) {
      if (stack_.size() != 1 || !marks_.empty()) {
        return Error(absl::StrCat("STOP leaves ", stack_.size(), " values and ", marks_.size(),
                                  " marks, not one value"));
      }
      pickle_.root = stack_.back();
      return true;
    }
    OVI_RETURN_IF_ERROR(Carry(*opcode));
    if (pickle_.values.size() > kValuesMax) return Error(absl::StrCat("more than ", kValuesMax, " values"));
    if (stack_.size() + ids_kept_ + memo_.size() > kIdsMax)
      return Error(absl::StrCat("more than ", kIdsMax, " references"));
    return false;
  }

  absl::Status Carry(std::uint8_t opcode) {
    switch (opcode) {
      case pickle_op::kProto:
        return Protocol();
      case pickle_op::kFrame:  // says how far a reader may read ahead; nothing to read ahead of in memory
        return reader_.Take(8) ? absl::OkStatus() : CutShort();
      case pickle_op::kMark:
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case pickle_op::kNone:
        return Push({.kind = Kind::kNone});
      case pickle_op::kNewTrue:
        return Push({.kind = Kind::kBool, .integer = 1});
      case pickle_op::kNewFalse:
        return Push({.kind = Kind::kBool, .integer = 0});
      case pickle_op::kBinInt:
        return Integer<std::int32_t>();
      case pickle_op::kBinInt1:
        return Integer<std::uint8_t>();
      case pickle_op::kBinInt2:
        return Integer<std::uint16_t>();
      case pickle_op::kLong1:
        return Long();
      case pickle_op::kBinFloat:
        return reader_.Take(8) ? Push({.kind = Kind::kFloat}) : CutShort();
      case pickle_op::kShortBinUnicode:
      case pickle_op::kShortBinString:
        return String<std::uint8_t>();
      case pickle_op::kBinUnicode:
      case pickle_op::kBinString:
        return String<std::uint32_t>();
      case pickle_op::kBinUnicode8:
        return String<std::uint64_t>();
      case pickle_op::kGlobal:
        return GlobalByLines();
      case pickle_op::kStackGlobal:
        return GlobalByStack();
      case pickle_op::kEmptyTuple:
        return Push({.kind = Kind::kTuple});
      case pickle_op::kTuple1:
        return TupleOf(1);
      case pickle_op::kTuple2:
        return TupleOf(2);
      case pickle_op::kTuple3:
        return TupleOf(3);
      case pickle_op::kTuple: {
        OVI_ASSIGN_OR_RETURN(const std::size_t count, AboveMark());
        return TupleOf(count);
      }
      case pickle_op::kEmptyList:
        return Push({.kind = Kind::kList});
      case pickle_op::kAppend:
        return Extend(Kind::kList, 1);
      case pickle_op::kAppends: {
        OVI_ASSIGN_OR_RETURN(const std::size_t count, AboveMark());
        return Extend(Kind::kList, count);
      }
      case pickle_op::kEmptyDict:
        return Push({.kind = Kind::kDict});
      case pickle_op::kSetItem:
        return Extend(Kind::kDict, 2);
      case pickle_op::kSetItems: {
        OVI_ASSIGN_OR_RETURN(const std::size_t count, AboveMark());
        if (count % 2 != 0) return Error("a dict gets a key without a value");
        return Extend(Kind::kDict, count);
      }
      case pickle_op::kBinPut:
        return Put<std::uint8_t>();
      case pickle_op::kLongBinPut:
        return Put<std::uint32_t>();
      case pickle_op::kMemoize:
        return Remember(static_cast<std::uint32_t>(memo_.size()));
      case pickle_op::kBinGet:
        return Recall<std::uint8_t>();
      case pickle_op::kLongBinGet:
        return Recall<std::uint32_t>();
      case pickle_op::kBinPersId:
        return PersistentId();
      case pickle_op::kReduce:
        return Call();
      case pickle_op::kBuild:
        return Build();
      default:
        return Error(absl::StrCat("opcode 0x", absl::Hex(opcode, absl::kZeroPad2), " is not supported"));
    }
  }

  absl::Status Protocol() {
    const auto version = reader_.Read<std::uint8_t>();
    if (!version) return CutShort();
    if (*version < 2 || *version > 4)
      return Error(absl::StrCat("pickle protocol ", int{*version}, " is not 2 to 4"));
    return absl::OkStatus();
  }

  absl::Status Push(PickleValue value) {
    ids_kept_ += value.items.size();
    stack_.push_back(static_cast<PickleId>(pickle_.values.size()));
    pickle_.values.push_back(std::move(value));
    return absl::OkStatus();
  }

  // How many values may be popped: those above the innermost mark.
  std::size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  absl::StatusOr<std::size_t> AboveMark() {
    if (marks_.empty()) return Error("an opcode needs a mark, there is none");
    const std::size_t count = stack_.size() - marks_.back();
    marks_.pop_back();
    return count;
  }

  absl::StatusOr<std::vector<PickleId>> Pop(std::size_t count) {
    if (count > available())
      return Error(absl::StrCat("an opcode needs ", count, " values, there are ", available()));
    std::vector<PickleId> ids(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return ids;
  }

  absl::StatusOr<PickleId> Top() const {
    if (available() == 0) return Error("an opcode needs a value, there is none");
    return stack_.back();
  }

  template <typename T>
  absl::Status Integer() {
    const auto value = reader_.Read<T>();
    return value ? Push({.kind = Kind::kInt, .integer = *value}) : CutShort();
  }

  // Little-endian two's complement of any length; those beyond 64 bits name no tensor's size.
  absl::Status Long() {
    const auto length = reader_.Read<std::uint8_t>();
    if (!length) return CutShort();
    if (*length > 8)
      return Error(absl::StrCat("an integer has ", int{*length}, " bytes, at most 8 are supported"));
    const auto digits = reader_.Take(*length);
    if (!digits) return CutShort();
    std::uint64_t bits = 0;
    std::memcpy(&bits, digits->data(), digits->size());
    const unsigned spare = 64u - 8u * *length;
    const auto value =
        *length == 0 ? 0 : static_cast<std::int64_t>(bits << spare) >> spare;  // extends the sign
    return Push({.kind = Kind::kInt, .integer = value});
  }

  template <typename Length>
  absl::Status String() {
    const auto length = reader_.Read<Length>();
    if (!length) return CutShort();
    const auto text =
        *length > reader_.remaining() ? std::nullopt : reader_.TakeText(static_cast<std::size_t>(*length));
    if (!text) return Error(absl::StrCat("a string of ", *length, " bytes is cut short"));
    return Push({.kind = Kind::kString, .text = *text});
  }

  absl::Status GlobalByLines() {
    OVI_ASSIGN_OR_RETURN(const std::string_view module, Line());
    OVI_ASSIGN_OR_RETURN(const std::string_view name, Line());
    return PushGlobal(module, name);
  }

  absl::StatusOr<std::string_view> Line() {
    ByteReader rest = reader_;
    const std::string_view text = *rest.TakeText(rest.remaining());
    const std::size_t length = text.find('\n');
    if (length == std::string_view::npos) return CutShort();
    reader_.Take(length + 1);
    return text.substr(0, length);
  }

  absl::Status GlobalByStack() {
    OVI_ASSIGN_OR_RETURN(const std::vector<PickleId> ids, Pop(2));
    const PickleValue& module = pickle_.at(ids[0]);
    const PickleValue& name = pickle_.at(ids[1]);
    if (module.kind != Kind::kString || name.kind != Kind::kString)
      return Error("a global's name is not a string");
    return PushGlobal(module.text, name.text);
  }

  absl::Status PushGlobal(std::string_view module, std::string_view name) {
    const auto found = std::find_if(kGlobals.begin(), kGlobals.end(), [&](const GlobalName& g) {
      return g.module == module && g.name == name;
    });
    if (found == kGlobals.end()) {
      return Error(absl::StrCat("the global ", Printable(module), ".", Printable(name),
                                " is not allowed in a weight file"));
    }
    return Push({.kind = Kind::kGlobal, .global = found->global});
  }

  absl::Status TupleOf(std::size_t count) {
    OVI_ASSIGN_OR_RETURN(std::vector<PickleId> items, Pop(count));
    return Push({.kind = Kind::kTuple, .items = std::move(items)});
  }

  // Appends the top `count` values to the container below them.
  absl::Status Extend(Kind kind, std::size_t count) {
    OVI_ASSIGN_OR_RETURN(const std::vector<PickleId> ids, Pop(count));
    OVI_ASSIGN_OR_RETURN(const PickleId id, Top());
    PickleValue& container = pickle_.values[id];
    if (container.kind != kind)
      return Error(kind == Kind::kDict ? "items are set on no dict" : "items are added to no list");
    container.items.insert(container.items.end(), ids.begin(), ids.end());
    ids_kept_ += count;
    return absl::OkStatus();
  }

  template <typename Index>
  absl::Status Put() {
    const auto index = reader_.Read<Index>();
    return index ? Remember(*index) : CutShort();
  }

  absl::Status Remember(std::uint32_t index) {
    OVI_ASSIGN_OR_RETURN(const PickleId id, Top());
    memo_[index] = id;
    return absl::OkStatus();
  }

  template <typename Index>
  absl::Status Recall() {
    const auto index = reader_.Read<Index>();
    if (!index) return CutShort();
    const auto found = memo_.find(*index);
    if (found == memo_.end()) return Error(absl::StrCat("memo entry ", *index, " was never put"));
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  absl::Status PersistentId() {
    OVI_ASSIGN_OR_RETURN(std::vector<PickleId> ids, Pop(1));
    return Push({.kind = Kind::kPersistentId, .items = std::move(ids)});
  }

  absl::Status Call() {
    OVI_ASSIGN_OR_RETURN(const std::vector<PickleId> ids, Pop(2));
    const PickleValue& callee = pickle_.at(ids[0]);
    const PickleValue& arguments = pickle_.at(ids[1]);
    if (callee.kind != Kind::kGlobal || arguments.kind != Kind::kTuple)
      return Error("a call is not of a global with a tuple");
    switch (callee.global) {
      case PickleGlobal::kOrderedDict:
        return MakeOrderedDict(arguments);
      case PickleGlobal::kRebuildTensor:
      case PickleGlobal::kRebuildParameter:
        return Push({.kind = Kind::kCall, .global = callee.global, .items = arguments.items});
      default:
        return Error("a storage type is called, which no weight file needs");
    }
  }

  // OrderedDict() filled by SETITEMS, or, as Python 2 wrote it, OrderedDict([[key, value], ...]).
  absl::Status MakeOrderedDict(const PickleValue& arguments) {
    PickleValue dict{.kind = Kind::kDict};
    if (arguments.items.size() > 1) return Error("OrderedDict is called with more than one argument");
    if (!arguments.items.empty()) {
      const PickleValue& pairs = pickle_.at(arguments.items[0]);
      if (pairs.kind != Kind::kList) return Error("OrderedDict is not called with a list");
      for (const PickleId id : pairs.items) {
        const PickleValue& pair = pickle_.at(id);
        if ((pair.kind != Kind::kList && pair.kind != Kind::kTuple) || pair.items.size() != 2) {
          return Error("OrderedDict is not called with pairs");
        }
        dict.items.insert(dict.items.end(), pair.items.begin(), pair.items.end());
      }
    }
    return Push(std::move(dict));
  }

  // state_dict() hangs a _metadata attribute on its OrderedDict: nothing a tensor needs.
  absl::Status Build() {
    OVI_RETURN_IF_ERROR(Pop(1).status());
    OVI_ASSIGN_OR_RETURN(const PickleId id, Top());
    if (pickle_.at(id).kind != Kind::kDict) return Error("state is set on an object that is no OrderedDict");
    return absl::OkStatus();
  }

  ByteReader reader_;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;  // stack heights
  std::unordered_map<std::uint32_t, PickleId> memo_;
  std::size_t ids_kept_ = 0;  // in the items of all values
};

}  // namespace

const PickleValue* Pickle::Get(const PickleValue& dict, std::string_view key) const {
  const PickleValue* value = nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& candidate = at(dict.items[i]);
    if (candidate.kind == Kind::kString && candidate.text == key) value = &at(dict.items[i + 1]);
  }
  return value;
}

absl::StatusOr<Pickle> ParsePickle(std::span<const std::byte> bytes) {
  return Machine(bytes.first(std::min(bytes.size(), kBytesMax))).Run();
}

}  // namespace ovi
