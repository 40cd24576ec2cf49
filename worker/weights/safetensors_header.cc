#include "worker/weights/safetensors_header.h"

#include <cstddef>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/tensor.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

using Json = nlohmann::json;

// Follows the parser's events through the few places a header has. An event that does not belong where it
// happens ends the parse (return false), so depth is limited by the format itself; and keys are seen as
// written, so that a key given twice is found (a JSON tree would have kept one of the two).
class HeaderEvents final : public Json::json_sax_t {
 public:
  const std::string& error() const { return error_; }
  SafetensorsHeader TakeHeader() { return std::move(header_); }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kHeader;
        return true;
      case Place::kHeader:
        if (key_ == kMetadataKey) {
          place_ = Place::kMetadata;
          return true;
        }
        header_.entries.push_back({.name = key_, .dtype = {}, .shape = {}, .offsets = {}});
        seen_ = {};
        place_ = Place::kTensor;
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool end_object() override {
    if (place_ == Place::kTensor) {
      if (!seen_.dtype) return Refuse("has no field dtype");
      if (!seen_.shape) return Refuse("has no field shape");
      if (!seen_.offsets) return Refuse("has no field data_offsets");
      if (entry().offsets.size() != 2) {
        return Refuse(absl::StrCat("has ", entry().offsets.size(), " data_offsets, not begin and end"));
      }
    }
    place_ = place_ == Place::kHeader ? Place::kEnd : Place::kHeader;
    return true;
  }

  bool key(std::string& key) override {
    key_ = std::move(key);
    if (place_ == Place::kHeader && key_ == kMetadataKey && std::exchange(seen_metadata_, true)) {
      return Fail(absl::StrCat(kMetadataKey, " is there twice"));
    }
    if (place_ == Place::kMetadata && header_.metadata.contains(key_)) {
      return Fail(absl::StrCat(kMetadataKey, " has the key ", Printable(key_), " twice"));
    }
    if (place_ != Place::kTensor) return true;
    bool* const seen = key_ == "dtype"          ? &seen_.dtype
                       : key_ == "shape"        ? &seen_.shape
                       : key_ == "data_offsets" ? &seen_.offsets
                                                : nullptr;
    if (seen == nullptr) return Refuse(absl::StrCat("has the unknown field ", Printable(key_)));
    if (std::exchange(*seen, true)) return Refuse(absl::StrCat("has the field ", key_, " twice"));
    return true;
  }

  bool string(std::string& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata.emplace(key_, std::move(text));
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") return Unexpected("a string");
    entry().dtype = std::move(text);
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") return Unexpected("an array");
    place_ = Place::kNumbers;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::kNumbers) return Unexpected("a number");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return Refuse(absl::StrCat(key_, " has ", value, ", beyond 63 bits"));
    }
    const bool is_shape = key_ == "shape";
    std::vector<std::int64_t>& numbers = is_shape ? entry().shape : entry().offsets;
    const std::size_t count_max = is_shape ? Shape::kMaxRank : 2;
    if (numbers.size() == count_max)
      return Refuse(absl::StrCat(key_, " has more than ", count_max, " numbers"));
    numbers.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool number_integer(std::int64_t value) override {
    return place_ == Place::kNumbers ? Refuse(absl::StrCat(key_, " has the negative number ", value))
                                     : Unexpected("a number");
  }
  bool number_float(double, const std::string& text) override {
    return place_ == Place::kNumbers
               ? Refuse(absl::StrCat(key_, " has ", Printable(text), ", not an integer of 63 bits"))
               : Unexpected("a number");
  }
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool binary(Json::binary_t&) override { return Unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("is not JSON at byte ", position));
  }

 private:
  enum class Place { kStart, kHeader, kMetadata, kTensor, kNumbers, kEnd };

  SafetensorsEntry& entry() { return header_.entries.back(); }

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  bool Refuse(std::string_view what) {
    return Fail(absl::StrCat("tensor ", Printable(entry().name), ": ", std::string(what)));
  }
  bool Unexpected(std::string_view found) {
    const std::string value(found);
    switch (place_) {
      case Place::kMetadata:
        return Fail(absl::StrCat(kMetadataKey, " has ", value, " as ", Printable(key_), ", not a string"));
      case Place::kTensor:
        return Refuse(absl::StrCat("has ", value, " as ", key_));
      case Place::kNumbers:
        return Refuse(absl::StrCat("has ", value, " in ", key_));
      case Place::kHeader:
        return Fail(absl::StrCat("has ", value, " as ", Printable(key_), ", not an object"));
      default:
        return Fail(absl::StrCat("is ", value, ", not an object"));
    }
  }

  static constexpr char kMetadataKey[] = "__metadata__";

  Place place_ = Place::kStart;
  std::string key_;  // the last one seen
  struct {
    bool dtype = false, shape = false, offsets = false;
  } seen_;  // fields of entry()
  bool seen_metadata_ = false;
  SafetensorsHeader header_;
  std::string error_;
};

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json) {
  HeaderEvents events;
  try {
    if (Json::sax_parse(json.begin(), json.end(), &events)) return events.TakeHeader();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("header needs more memory than the host has free");
  } catch (const std::exception&) {
    return absl::InvalidArgumentError("header is not JSON");
  }
  return absl::InvalidArgumentError(absl::StrCat("header: ", events.error()));
}

}  // namespace ovi
