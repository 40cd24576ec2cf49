#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"

namespace ovi {
namespace {

constexpr std::size_t kValueBytesMax = 4096;
constexpr std::string_view kHidden = "(hidden)";

struct Output {
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

std::shared_ptr<const Output> MakeOutput(std::vector<spdlog::sink_ptr> sinks, LogLevel level, bool json) {
  auto logger = std::make_shared<spdlog::logger>("ovi", sinks.begin(), sinks.end());
  logger->set_level(ToSpdlog(level));
  logger->flush_on(spdlog::level::trace);  // a line that a crash could take away is no log
  logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
      spdlog::pattern_time_type::utc));
  return std::make_shared<const Output>(Output{std::move(logger), json});
}

// The process has one log. Never destroyed: somebody may log until the very end.
struct Global {
  std::mutex mutex;
  std::shared_ptr<const Output> output =
      MakeOutput({std::make_shared<spdlog::sinks::stderr_sink_mt>()}, LogLevel::kInfo, false);
};

Global& TheGlobal() {
  static Global* const global = new Global;
  return *global;
}

std::shared_ptr<const Output> CurrentOutput() {
  Global& global = TheGlobal();
  const std::lock_guard lock(global.mutex);
  return global.output;
}

bool IsSecret(std::string_view name) {
  for (const std::string_view word : {"token", "secret", "prompt", "password", "authorization"}) {
    if (name.find(word) != std::string_view::npos) return true;
  }
  return false;
}

std::string TextOf(const LogField& field) {
  std::string_view text = std::get<std::string_view>(field.value);
  if (IsSecret(field.name)) return std::string(kHidden);
  if (text.size() <= kValueBytesMax) return std::string(text);
  return std::string(text.substr(0, kValueBytesMax)) + "...";
}

// Bare where that is unambiguous, else in quotes.
std::string Plain(const std::string& text) {
  const bool bare = !text.empty() && IsValidUtf8(text) &&
                    text.find_first_of(" \"=\\\x7f") == std::string::npos && Escaped(text) == text;
  if (bare) return text;
  // Our own escapes first, so that a backslash in the text and one of Escaped() differ.
  return absl::StrCat("\"", Escaped(absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}})), "\"");
}

std::string PlainValue(const LogField& field) {
  struct Visitor {
    const LogField& field;
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(std::string_view) const { return Plain(TextOf(field)); }
    std::string operator()(std::int64_t value) const { return absl::StrCat(value); }
    std::string operator()(std::uint64_t value) const { return absl::StrCat(value); }
    std::string operator()(double value) const { return absl::StrCat(value); }
  };
  return std::visit(Visitor{field}, field.value);
}

std::string PlainLine(std::string_view event, std::initializer_list<LogField> fields) {
  std::string line = Escaped(event);
  for (const LogField& field : fields)
    absl::StrAppend(&line, " ", Escaped(field.name), "=", PlainValue(field));
  return line;
}

// The members of a JSON object, without the braces: the pattern has time and level.
std::string JsonLine(std::string_view event, std::initializer_list<LogField> fields) {
  nlohmann::ordered_json object;
  object["event"] = std::string(event);
  for (const LogField& field : fields) {
    nlohmann::ordered_json& member = object[std::string(field.name)];
    if (std::holds_alternative<std::string_view>(field.value)) {
      member = TextOf(field);
    } else {
      std::visit([&member](const auto& value) { member = value; }, field.value);
    }
  }
  // `replace`: broken UTF-8 becomes U+FFFD instead of an exception.
  const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.substr(1, text.size() - 2);
}

}  // namespace

absl::Status ConfigureLog(const LogOptions& options) {
  std::vector<spdlog::sink_ptr> sinks;
  if (options.to_stderr) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (!options.file.empty()) {
    // spdlog would create missing folders; a wrong path shall be an error instead.
    const std::size_t slash = options.file.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : options.file.substr(0, slash + 1);
    struct stat info {};
    if (::stat(folder.c_str(), &info) != 0) {
      return absl::FailedPreconditionError(absl::StrCat(options.file, ": cannot log there: no such folder"));
    }
    try {
      sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
    } catch (const spdlog::spdlog_ex& error) {
      return absl::FailedPreconditionError(
          absl::StrCat(options.file, ": cannot log there: ", Escaped(error.what())));
    }
  }
  std::shared_ptr<const Output> output = MakeOutput(std::move(sinks), options.level, options.json);
  Global& global = TheGlobal();
  const std::lock_guard lock(global.mutex);
  global.output.swap(output);
  return absl::OkStatus();
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  const std::shared_ptr<const Output> output = CurrentOutput();
  if (!output->logger->should_log(ToSpdlog(level))) return;
  const std::string line = output->json ? JsonLine(event, fields) : PlainLine(event, fields);
  output->logger->log(ToSpdlog(level), spdlog::string_view_t(line));
}

bool LogsAt(LogLevel level) {
  return CurrentOutput()->logger->should_log(ToSpdlog(level));
}

}  // namespace ovi
