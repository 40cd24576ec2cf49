#include "client/ovictl/errors.h"

#include <grpcpp/support/status.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/format.h"
#include "base/status.h"
#include "client/ovictl/exit_code.h"
#include "ovi/v1/job.pb.h"
#include "ovi/v1/rpc_status.pb.h"

namespace ovi::client {
namespace {

constexpr absl::string_view kDetailPayload = "type.googleapis.com/ovi.v1.ErrorDetail";

std::optional<v1::ErrorDetail> DetailOf(const grpc::Status& status) {
  v1::RpcStatus rpc_status;
  if (!rpc_status.ParseFromString(status.error_details())) return std::nullopt;
  for (const google::protobuf::Any& any : rpc_status.details()) {
    v1::ErrorDetail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

std::optional<v1::ErrorDetail> DetailOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kDetailPayload);
  v1::ErrorDetail detail;
  if (!payload || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

std::string MessageOf(const grpc::Status& status, const CallFacts& facts) {
  const std::string said = OneLine(status.error_message());
  const std::string coordinator = absl::StrCat("coordinator ", facts.coordinator);
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      if (facts.answered) return absl::StrCat(coordinator, " is not ready: ", said);
      return absl::StrCat(coordinator,
                          " does not answer; is ovi-coordinator running? (--coordinator, OVI_COORDINATOR)");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::StrFormat("%s did not answer within %g s (--timeout)", coordinator, facts.timeout_seconds);
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::StrCat(coordinator, ": ", said, " (--token-file, OVI_TOKEN_FILE)");
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::StrCat(coordinator, " does not know this call: is it older than ovictl " OVI_VERSION "? ",
                          said);
    default:
      return said.empty() ? absl::StrCat(coordinator, ": error ", status.error_code()) : said;
  }
}

struct Spelling {
  std::string_view path, word;
};

// Where docs/job-config.md and the proto's JobSpec differ, and what is an option rather than a key.
constexpr Spelling kSpecSpellings[] = {
    {"solver", "solver_name"},
    {"size", "resolution"},
    {"size.height", "resolution"},
    {"size.width", "resolution"},
    {"duration_seconds", "duration"},
    {"first_frame_sha256", "image_path"},
    {"gpu_count", "gpu_allocation"},
    {"torch_cuda", "noise_layout"},
    {"torch_cuda.sm_count", "torch_cuda_sm_count"},
    {"torch_cuda.max_threads_per_sm", "torch_cuda_max_threads_per_sm"},
    {"priority", "--priority"},
    {"name", "--name"},
    {"user", "--user"},
};

// Of the other requests.
constexpr Spelling kRequestSpellings[] = {
    {"request_id", "--request-id"}, {"job_id", "JOB"}, {"page_size", "--limit"}, {"name", "NODE"},
    {"reason", "--reason"},
};

template <std::size_t count>
std::optional<std::string> Find(const Spelling (&spellings)[count], std::string_view path) {
  for (const Spelling& spelling : spellings) {
    if (path == spelling.path) return std::string(spelling.word);
  }
  return std::nullopt;
}

// Each field that is wrong, in the user's word. Once where it is so for several jobs of a batch, as when a
// setting of the job file is wrong.
struct WrongField {
  std::string word, description;
  bool operator==(const WrongField&) const = default;
};

std::vector<WrongField> WrongFields(const v1::ErrorDetail& detail) {
  std::vector<WrongField> fields;
  for (const v1::FieldViolation& violation : detail.field_violations()) {
    WrongField field{FieldWord(violation.field()), violation.description()};
    if (std::find(fields.begin(), fields.end(), field) == fields.end()) fields.push_back(std::move(field));
  }
  return fields;
}

// "requests[17].spec.seed": 17 and "spec.seed"; "requests[17]: no node": 17 and "no node".
struct BatchPath {
  std::size_t index = 0;
  std::string_view rest;
};

std::optional<BatchPath> ParseBatchPath(std::string_view text) {
  constexpr std::string_view kRequests = "requests[";
  if (!text.starts_with(kRequests)) return std::nullopt;
  text.remove_prefix(kRequests.size());
  BatchPath path;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), path.index);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  for (const std::string_view between : {"].", "]: "}) {
    if (!text.starts_with(between)) continue;
    path.rest = text.substr(between.size());
    return path;
  }
  return std::nullopt;
}

}  // namespace

std::string FieldWord(std::string_view path) {
  constexpr std::string_view kSpec = "spec.";
  if (const std::optional<BatchPath> within = ParseBatchPath(path)) path = within->rest;
  std::optional<std::string> word;
  if (path.starts_with(kSpec)) {
    path.remove_prefix(kSpec.size());
    word = Find(kSpecSpellings, path);
  } else {
    word = Find(kRequestSpellings, path);
  }
  return word.value_or(std::string(path));
}

absl::Status FromGrpc(const grpc::Status& status, const CallFacts& facts) {
  if (facts.interrupted) return absl::CancelledError("interrupted");
  // CANCELLED stands for the user's Ctrl-C alone.
  const bool cancelled = status.error_code() == grpc::StatusCode::CANCELLED;
  const auto code =
      cancelled ? absl::StatusCode::kAborted : static_cast<absl::StatusCode>(status.error_code());
  absl::Status result(code, MessageOf(status, facts));
  if (const std::optional<v1::ErrorDetail> detail = DetailOf(status)) {
    result.SetPayload(kDetailPayload, absl::Cord(detail->SerializeAsString()));
  }
  return result;
}

absl::Status CannotBegin(const absl::Status& status) {
  return status.ok() ? status : absl::InvalidArgumentError(status.message());
}

absl::Status About(std::string_view what, const absl::Status& status) {
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status))
    return status;
  return Annotate(status, what);
}

absl::Status OfBatch(absl::Status status, std::size_t first, std::size_t count) {
  if (status.ok() || count < 2) return status;
  const auto job = [&](const BatchPath& path) {
    return absl::StrCat("job ", first + path.index + 1, " of ", count);
  };
  std::optional<v1::ErrorDetail> detail = DetailOf(status);
  const absl::string_view message = status.message();
  if (const auto path = ParseBatchPath({message.data(), message.size()})) {
    status = absl::Status(status.code(), absl::StrCat(job(*path), ": ", std::string(path->rest)));
  }
  if (!detail) return status;
  // A setting that is wrong for all of them is no job's own.
  std::map<std::pair<std::string, std::string>, int> times;
  for (const v1::FieldViolation& violation : detail->field_violations()) {
    ++times[{FieldWord(violation.field()), violation.description()}];
  }
  for (v1::FieldViolation& violation : *detail->mutable_field_violations()) {
    const auto path = ParseBatchPath(violation.field());
    if (!path || times[{FieldWord(violation.field()), violation.description()}] > 1) continue;
    violation.set_description(absl::StrCat(violation.description(), " (", job(*path), ")"));
  }
  status.SetPayload(kDetailPayload, absl::Cord(detail->SerializeAsString()));
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  if (absl::IsInvalidArgument(status)) return kExitUsage;
  return absl::IsCancelled(status) ? kExitInterrupted : kExitFailed;
}

std::vector<std::string> ErrorLines(const absl::Status& status) {
  std::vector<std::string> lines;
  if (const std::optional<v1::ErrorDetail> detail = DetailOf(status)) {
    for (const WrongField& field : WrongFields(*detail)) {
      lines.push_back(OneLine(absl::StrCat(field.word, ": ", field.description)));
    }
  }
  const absl::string_view message = status.message();
  if (lines.empty()) lines.push_back(OneLine({message.data(), message.size()}));
  return lines;
}

std::string ErrorJson(const absl::Status& status) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"message", std::string(status.message())},
                          {"exit_code", ExitCodeOf(status)}};
  if (const std::optional<v1::ErrorDetail> detail = DetailOf(status)) {
    error["reason"] = detail->reason();
    for (const WrongField& field : WrongFields(*detail)) {
      error["fields"].push_back({{"field", field.word}, {"description", field.description}});
    }
  }
  return nlohmann::json{{"error", error}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ovi::client
