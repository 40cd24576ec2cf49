// The log: one line an event, for people and for machines.
//
//   Log(LogLevel::kInfo, "job submitted", {{"job", 12}, {"node", "box-1"}});
//   2026-11-23T18:00:00.123Z info job submitted job=12 node=box-1
//   {"time":"2026-11-23T18:00:00.123Z","level":"info","event":"job submitted","job":12,"node":"box-1"}
//
// The event is a constant of ours; what varies goes into fields. A line is whole whatever the values hold:
// control characters and broken UTF-8 are escaped, values with blanks are quoted, long ones are cut.
//
// No secret gets out: text in a field whose name contains token, secret, prompt, password or authorization is
// written as "(hidden)". Numbers are not (prompt_bytes=12).
//
// All functions are safe to call from any thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ovi {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;  // what is below is dropped
  bool json = false;
  bool to_stderr = true;
  std::string file;  // appended to, beside or instead of stderr; "" = none
};

// Text is not copied: it must live until Log returns.
using LogValue = std::variant<std::int64_t, std::uint64_t, double, bool, std::string_view>;

struct LogField {
  LogField(std::string_view field_name, bool field_value) : name(field_name), value(field_value) {}
  LogField(std::string_view field_name, double field_value) : name(field_name), value(field_value) {}
  LogField(std::string_view field_name, absl::string_view text)  // Status::message()
      : name(field_name), value(std::string_view(text.data(), text.size())) {}
  template <std::convertible_to<std::string_view> Text>
  LogField(std::string_view field_name, const Text& text) : name(field_name), value(std::string_view(text)) {}
  template <std::signed_integral Number>
  LogField(std::string_view field_name, Number number) : name(field_name), value(std::int64_t{number}) {}
  template <std::unsigned_integral Number>
  LogField(std::string_view field_name, Number number) : name(field_name), value(std::uint64_t{number}) {}

  std::string_view name;  // lower-case words joined by _
  LogValue value;
};

// Before it is called, or when it failed: text of kInfo and above to stderr. FAILED_PRECONDITION when the
// file cannot be opened; its folder must exist.
absl::Status ConfigureLog(const LogOptions& options);

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

// Whether Log would write anything: for values that cost something to make.
bool LogsAt(LogLevel level);

}  // namespace ovi
