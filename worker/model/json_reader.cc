#include "worker/model/json_reader.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ovi {

using nlohmann::json;

struct JsonReader::Document {
  json root;

  // The first of `names` that is there, or null.
  const json* Find(Names names) const {
    for (const std::string_view name : names) {
      const auto it = root.find(std::string(name));
      if (it != root.end()) return &*it;
    }
    return nullptr;
  }
};

JsonReader::JsonReader(std::unique_ptr<Document> document, std::string file_name)
    : document_(std::move(document)), file_name_(std::move(file_name)) {}
JsonReader::JsonReader(JsonReader&&) noexcept = default;
JsonReader& JsonReader::operator=(JsonReader&&) noexcept = default;
JsonReader::~JsonReader() = default;

absl::StatusOr<JsonReader> JsonReader::Parse(std::string_view text, std::string_view file_name) {
  // These files are a few hundred bytes; the limit also bounds the parser's recursion.
  constexpr std::size_t kBytesMax = 64 * 1024;
  JsonReader reader(std::make_unique<Document>(), std::string(file_name));
  if (text.size() > kBytesMax)
    return reader.Error("size", absl::StrCat(text.size(), " bytes, at most ", kBytesMax));
  reader.document_->root = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!reader.document_->root.is_object()) return reader.Error("content", "not a JSON object");
  return reader;
}

absl::Status JsonReader::Error(std::string_view field, std::string_view message) const {
  return absl::InvalidArgumentError(
      absl::StrCat(file_name_, ": ", std::string(field), ": ", std::string(message)));
}

void JsonReader::Fail(std::string_view field, std::string_view message) {
  if (status_.ok()) status_ = Error(field, message);
}

void JsonReader::Int(Names names, std::int64_t min, std::int64_t max, std::int64_t* out) {
  if (document_->Find(names) == nullptr) return Fail(*names.begin(), "missing");
  OptionalInt(names, min, max, out);
}

void JsonReader::OptionalInt(Names names, std::int64_t min, std::int64_t max, std::int64_t* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return;
  if (!value->is_number_integer()) return Fail(*names.begin(), "must be an integer");
  const bool too_large =
      value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(max);
  if (too_large || value->get<std::int64_t>() < min || value->get<std::int64_t>() > max) {
    return Fail(*names.begin(), absl::StrCat("must be ", min, "..", max, ", got ", value->dump()));
  }
  *out = value->get<std::int64_t>();
}

void JsonReader::Number(Names names, double min, double max, double* out) {
  if (document_->Find(names) == nullptr) return Fail(*names.begin(), "missing");
  OptionalNumber(names, min, max, out);
}

void JsonReader::OptionalNumber(Names names, double min, double max, double* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return;
  if (!value->is_number()) return Fail(*names.begin(), "must be a number");
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    return Fail(*names.begin(), absl::StrCat("must be ", min, "..", max, ", got ", value->dump()));
  }
  *out = number;
}

void JsonReader::String(Names names, std::string* out) {
  if (document_->Find(names) == nullptr) return Fail(*names.begin(), "missing");
  OptionalString(names, out);
}

void JsonReader::OptionalString(Names names, std::string* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return;
  if (!value->is_string()) return Fail(*names.begin(), "must be a string");
  *out = value->get<std::string>();
}

void JsonReader::Ints(Names names, std::int64_t min, std::int64_t max, std::vector<std::int64_t>* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return Fail(*names.begin(), "missing");
  if (!value->is_array()) return Fail(*names.begin(), "must be a list of integers");
  out->clear();
  for (const json& item : *value) {
    if (!item.is_number_integer() || item.get<double>() < static_cast<double>(min) ||
        item.get<double>() > static_cast<double>(max)) {
      return Fail(*names.begin(), absl::StrCat("must be a list of integers ", min, "..", max));
    }
    out->push_back(item.get<std::int64_t>());
  }
}

void JsonReader::IntLists(Names names, std::int64_t min, std::int64_t max,
                          std::vector<std::vector<std::int64_t>>* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return Fail(*names.begin(), "missing");
  if (!value->is_array()) return Fail(*names.begin(), "must be a list of lists");
  out->clear();
  for (const json& list : *value) {
    if (!list.is_array()) return Fail(*names.begin(), "must be a list of lists");
    out->emplace_back();
    for (const json& item : list) {
      if (!item.is_number_integer() || item.get<double>() < static_cast<double>(min) ||
          item.get<double>() > static_cast<double>(max)) {
        return Fail(*names.begin(), absl::StrCat("must hold integers ", min, "..", max));
      }
      out->back().push_back(item.get<std::int64_t>());
    }
  }
}

void JsonReader::Bools(Names names, std::vector<bool>* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return Fail(*names.begin(), "missing");
  if (!value->is_array()) return Fail(*names.begin(), "must be a list of booleans");
  out->clear();
  for (const json& item : *value) {
    if (!item.is_boolean()) return Fail(*names.begin(), "must be a list of booleans");
    out->push_back(item.get<bool>());
  }
}

void JsonReader::OptionalFloats(Names names, std::vector<float>* out) {
  const json* value = document_->Find(names);
  if (value == nullptr) return;
  if (!value->is_array()) return Fail(*names.begin(), "must be a list of numbers");
  out->clear();
  for (const json& item : *value) {
    // What overflows a float is infinite too.
    if (!item.is_number() || !(std::fabs(item.get<double>()) <= std::numeric_limits<float>::max())) {
      return Fail(*names.begin(), "must be a list of finite numbers");
    }
    out->push_back(item.get<float>());
  }
}

void JsonReader::RequireBool(Names names, bool expected) {
  const json* value = document_->Find(names);
  if (value == nullptr) return;
  if (!value->is_boolean() || value->get<bool>() != expected) {
    Fail(*names.begin(), absl::StrCat("only ", expected ? "true" : "false", " is supported"));
  }
}

std::string JsonReader::Object(Names names) {
  const json* value = document_->Find(names);
  if (value == nullptr) return "{}";
  if (!value->is_object()) {
    Fail(*names.begin(), "must be an object");
    return "{}";
  }
  return value->dump();
}

}  // namespace ovi
