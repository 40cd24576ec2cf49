// Reads the fields of one JSON object with types and ranges. The first error is kept; later calls do nothing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// Every field takes a list of names, the first being the one used in errors: files of different origin call
// it differently.
class JsonReader {
 public:
  using Names = std::initializer_list<std::string_view>;

  static absl::StatusOr<JsonReader> Parse(std::string_view json, std::string_view file_name);
  JsonReader(JsonReader&&) noexcept;
  JsonReader& operator=(JsonReader&&) noexcept;
  ~JsonReader();

  void Int(Names names, std::int64_t min, std::int64_t max, std::int64_t* out);
  void OptionalInt(Names names, std::int64_t min, std::int64_t max, std::int64_t* out);
  void Number(Names names, double min, double max, double* out);
  void OptionalNumber(Names names, double min, double max, double* out);
  void String(Names names, std::string* out);
  void OptionalString(Names names, std::string* out);
  void Ints(Names names, std::int64_t min, std::int64_t max, std::vector<std::int64_t>* out);
  void IntLists(Names names, std::int64_t min, std::int64_t max, std::vector<std::vector<std::int64_t>>* out);
  void Bools(Names names, std::vector<bool>* out);
  void OptionalFloats(Names names, std::vector<float>* out);
  // For switches of the original that we build in: any other value is an error, absence is not.
  void RequireTrue(Names names) { RequireBool(names, true); }
  void RequireFalse(Names names) { RequireBool(names, false); }
  // The text of a nested object, "{}" if it is absent.
  std::string Object(Names names);

  const absl::Status& status() const { return status_; }
  // INVALID_ARGUMENT "file: field: message".
  absl::Status Error(std::string_view field, std::string_view message) const;

 private:
  struct Document;
  JsonReader(std::unique_ptr<Document> document, std::string file_name);
  void RequireBool(Names names, bool value);
  void Fail(std::string_view field, std::string_view message);

  std::unique_ptr<Document> document_;
  std::string file_name_;
  absl::Status status_;
};

}  // namespace ovi
