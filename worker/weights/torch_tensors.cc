#include "worker/weights/torch_tensors.h"

#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

using Kind = PickleValue::Kind;

absl::Status Error(std::string_view what) {
  return absl::InvalidArgumentError(std::string(what));
}

bool IsStorageType(const PickleValue& value) {
  return value.kind == Kind::kGlobal && value.global >= PickleGlobal::kFloatStorage;
}

// The type a tensor of this storage has in the table.
DType TableDType(PickleGlobal type) {
  switch (type) {
    case PickleGlobal::kBFloat16Storage:
      return DType::kBF16;
    case PickleGlobal::kHalfStorage:
      return DType::kF16;
    case PickleGlobal::kLongStorage:
      return DType::kI64;
    case PickleGlobal::kIntStorage:
      return DType::kI32;
    case PickleGlobal::kByteStorage:
      return DType::kU8;
    default:
      return DType::kF32;
  }
}

// A tensor as _rebuild_tensor_v2 gets it, in elements of its storage.
struct StridedView {
  std::int64_t offset = 0;
  Shape shape;
  std::vector<std::int64_t> strides;  // each >= 0, one an axis
};

absl::StatusOr<std::vector<std::int64_t>> Integers(const Pickle& pickle, const PickleValue& tuple,
                                                   std::string_view field) {
  if (tuple.kind != Kind::kTuple) return Error(absl::StrCat(std::string(field), " is not a tuple"));
  if (tuple.items.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
    return Error(absl::StrCat(std::string(field), " has ", tuple.items.size(), " axes, at most ",
                              Shape::kMaxRank, " are supported"));
  }
  std::vector<std::int64_t> integers;
  for (const PickleId id : tuple.items) {
    const PickleValue& item = pickle.at(id);
    if (item.kind != Kind::kInt)
      return Error(absl::StrCat(std::string(field), " holds something other than integers"));
    integers.push_back(item.integer);
  }
  return integers;
}

absl::StatusOr<StridedView> ReadView(const Pickle& pickle, const std::vector<PickleId>& arguments,
                                     std::int64_t element_bytes) {
  StridedView view;
  const PickleValue& offset = pickle.at(arguments[1]);
  if (offset.kind != Kind::kInt) return Error("storage offset is not an integer");
  if (offset.integer < 0) return Error(absl::StrCat("storage offset is ", offset.integer));
  view.offset = offset.integer;
  OVI_ASSIGN_OR_RETURN(const std::vector<std::int64_t> extents,
                       Integers(pickle, pickle.at(arguments[2]), "size"));
  OVI_ASSIGN_OR_RETURN(view.shape, CheckedShape(extents, element_bytes));
  OVI_ASSIGN_OR_RETURN(view.strides, Integers(pickle, pickle.at(arguments[3]), "stride"));
  if (view.strides.size() != extents.size()) {
    return Error(absl::StrCat("stride has ", view.strides.size(), " axes, size has ", extents.size()));
  }
  for (const std::int64_t stride : view.strides) {
    if (stride < 0) return Error(absl::StrCat("stride is negative: ", stride));
  }
  return view;
}

// Every element the view reaches lies inside the storage.
absl::Status CheckInside(const StridedView& view, const TorchStorage& storage) {
  if (view.shape.elements() == 0) return absl::OkStatus();
  std::int64_t last = view.offset;
  bool fits = true;
  for (int axis = 0; axis < view.shape.rank() && fits; ++axis) {
    std::int64_t step = 0;
    fits =
        !__builtin_mul_overflow(view.shape[axis] - 1, view.strides[static_cast<std::size_t>(axis)], &step) &&
        !__builtin_add_overflow(last, step, &last);
  }
  if (fits && last < storage.elements) return absl::OkStatus();
  return Error(absl::StrCat("size ", view.shape.ToString(), ", stride (", absl::StrJoin(view.strides, ","),
                            "), offset ", view.offset, " reach beyond the ", storage.elements,
                            " elements of storage ", Printable(storage.key)));
}

bool IsRowMajor(const StridedView& view) {
  std::int64_t expected = 1;
  for (int axis = view.shape.rank() - 1; axis >= 0; --axis) {
    if (view.shape[axis] != 1 && view.strides[static_cast<std::size_t>(axis)] != expected) return false;
    expected *= view.shape[axis];
  }
  return true;
}

// Calls take(i) with the storage index of each element, in row-major order.
template <typename Take>
void ForEachElement(const StridedView& view, const Take& take) {
  std::array<std::int64_t, Shape::kMaxRank> position{};
  std::int64_t index = view.offset;
  const std::int64_t elements = view.shape.elements();
  for (std::int64_t n = 0; n < elements; ++n) {
    take(index);
    for (int axis = view.shape.rank() - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      index += view.strides[a];
      if (++position[a] < view.shape[axis]) break;
      index -= view.strides[a] * position[a];  // back to the start of this axis, and step the one before
      position[a] = 0;
    }
  }
}

// A row-major copy of the view, float64 narrowed to float32.
absl::StatusOr<HostTensor> Copy(const StridedView& view, const TorchStorage& storage, const std::byte* data,
                                TensorTable& table) {
  HostTensor tensor{nullptr, TableDType(storage.type), view.shape};
  OVI_ASSIGN_OR_RETURN(const std::span<std::byte> memory, table.Own(tensor.bytes()));
  tensor.data = memory.data();
  std::byte* out = memory.data();
  if (storage.type == PickleGlobal::kDoubleStorage) {
    ForEachElement(view, [&](std::int64_t index) {
      double wide;
      std::memcpy(&wide, data + index * 8, sizeof(wide));
      const float narrow = static_cast<float>(wide);
      std::memcpy(out, &narrow, sizeof(narrow));
      out += sizeof(narrow);
    });
  } else {
    const std::int64_t bytes = storage.element_bytes();
    ForEachElement(view, [&](std::int64_t index) {
      std::memcpy(out, data + index * bytes, static_cast<std::size_t>(bytes));
      out += bytes;
    });
  }
  return tensor;
}

absl::StatusOr<HostTensor> Rebuild(const Pickle& pickle, const PickleValue& call,
                                   const StorageBytes& storage_bytes, TensorTable& table) {
  const std::vector<PickleId>& arguments = call.items;
  if (arguments.size() != 6 && arguments.size() != 7) {
    return Error(
        absl::StrCat("_rebuild_tensor_v2 is called with ", arguments.size(), " arguments, not 6 or 7"));
  }
  OVI_ASSIGN_OR_RETURN(const TorchStorage storage, ReadTorchStorage(pickle, pickle.at(arguments[0])));
  OVI_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, storage_bytes(storage));
  if (storage.bytes() > static_cast<std::int64_t>(bytes.size())) {
    return Error(absl::StrCat("storage ", Printable(storage.key), " needs ", storage.bytes(),
                              " bytes, the file has ", bytes.size()));
  }
  OVI_ASSIGN_OR_RETURN(const StridedView view, ReadView(pickle, arguments, storage.element_bytes()));
  OVI_RETURN_IF_ERROR(CheckInside(view, storage));
  const bool is_empty = view.shape.elements() == 0;
  if (!is_empty && (!IsRowMajor(view) || storage.type == PickleGlobal::kDoubleStorage)) {
    return Copy(view, storage, bytes.data(), table);
  }
  const std::byte* data = is_empty ? bytes.data() : bytes.data() + view.offset * storage.element_bytes();
  return HostTensor{data, TableDType(storage.type), view.shape};
}

// The tensor call inside a parameter; `value` itself otherwise. Null when that is no tensor.
const PickleValue* TensorCall(const Pickle& pickle, const PickleValue& value) {
  const PickleValue* call = &value;
  if (call->kind == Kind::kCall && call->global == PickleGlobal::kRebuildParameter && !call->items.empty()) {
    call = &pickle.at(call->items[0]);
  }
  return call->kind == Kind::kCall && call->global == PickleGlobal::kRebuildTensor ? call : nullptr;
}

const PickleValue* GetDict(const Pickle& pickle, const PickleValue* dict, std::string_view key) {
  const PickleValue* value = dict == nullptr ? nullptr : pickle.Get(*dict, key);
  return value != nullptr && value->kind == Kind::kDict ? value : nullptr;
}

const PickleValue& Unwrap(const Pickle& pickle, const PickleValue& root) {
  if (const PickleValue* module = GetDict(pickle, &root, "module")) return *module;
  if (const PickleValue* generator = GetDict(pickle, &root, "generator")) return *generator;
  if (const PickleValue* model = GetDict(pickle, GetDict(pickle, &root, "app"), "model")) return *model;
  return root;
}

absl::Status NoTensors(const Pickle& pickle, const PickleValue& root) {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < root.items.size() && keys.size() < 5; i += 2) {
    const PickleValue& key = pickle.at(root.items[i]);
    keys.push_back(key.kind == Kind::kString ? Printable(key.text) : "(not a string)");
  }
  return Error(absl::StrCat("the dict in the file holds no tensors; it has ", root.items.size() / 2,
                            " keys (first: ", absl::StrJoin(keys, ", "), ")"));
}

}  // namespace

std::int64_t TorchStorage::element_bytes() const {
  return type == PickleGlobal::kDoubleStorage ? 8 : ElementBytes(TableDType(type));
}

absl::StatusOr<TorchStorage> ReadTorchStorage(const Pickle& pickle, const PickleValue& persistent_id) {
  if (persistent_id.kind != Kind::kPersistentId) return Error("storage is not a persistent id");
  const PickleValue& id = pickle.at(persistent_id.items[0]);
  if (id.kind != Kind::kTuple || (id.items.size() != 5 && id.items.size() != 6)) {
    return Error("persistent id is not a tuple of 5 or 6");
  }
  const PickleValue& what = pickle.at(id.items[0]);
  const PickleValue& type = pickle.at(id.items[1]);
  const PickleValue& key = pickle.at(id.items[2]);
  const PickleValue& elements = pickle.at(id.items[4]);
  if (what.kind != Kind::kString || what.text != "storage")
    return Error("persistent id does not begin with 'storage'");
  if (!IsStorageType(type)) return Error("persistent id has no storage type");
  if (key.kind != Kind::kString) return Error("storage key is not a string");
  if (id.items.size() == 6 && pickle.at(id.items[5]).kind != Kind::kNone) {
    return Error(
        absl::StrCat("storage ", Printable(key.text), " is a view of another, which is not supported"));
  }
  const TorchStorage storage{key.text, type.global, elements.integer};
  if (elements.kind != Kind::kInt || storage.elements < 0 ||
      storage.elements > std::numeric_limits<std::int64_t>::max() / storage.element_bytes()) {
    return Error(
        absl::StrCat("storage ", Printable(key.text), " has an invalid element count ", elements.integer));
  }
  return storage;
}

absl::Status AddTorchTensors(const Pickle& pickle, const StorageBytes& storage_bytes, TensorTable& table) {
  const PickleValue& root = pickle.at(pickle.root);
  if (root.kind != Kind::kDict) return Error("the object in the file is not a dict of tensors");
  const PickleValue& dict = Unwrap(pickle, root);
  for (std::size_t i = 0; i < dict.items.size(); i += 2) {
    const PickleValue& key = pickle.at(dict.items[i]);
    const PickleValue* call = TensorCall(pickle, pickle.at(dict.items[i + 1]));
    if (call == nullptr) continue;
    if (key.kind != Kind::kString) return Error("a tensor's name is not a string");
    absl::StatusOr<HostTensor> tensor = Rebuild(pickle, *call, storage_bytes, table);
    if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat("tensor ", Printable(key.text)));
    OVI_RETURN_IF_ERROR(table.Add(key.text, *tensor));
  }
  if (table.empty()) return NoTensors(pickle, root);
  return absl::OkStatus();
}

}  // namespace ovi
