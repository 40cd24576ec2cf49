#include "coordinator/rpc/status.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ovi/v1/rpc_status.pb.h"

namespace ovi {
namespace {

// Clients refuse more than 8 KiB of metadata, which the details go into as base64; gRPC would then tell them
// of that instead.
constexpr std::size_t kViolationBytesMax = 3 << 10;

grpc::Status WithDetail(const absl::Status& status, const v1::ErrorDetail& detail) {
  v1::RpcStatus details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(detail);
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          details.SerializeAsString()};
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

grpc::Status ToGrpcStatus(const absl::Status& status, std::string_view reason) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorDetail detail;
  detail.set_reason(std::string(reason));
  return WithDetail(status, detail);
}

v1::FieldViolation Violation(std::string field, std::string description) {
  v1::FieldViolation violation;
  violation.set_field(std::move(field));
  violation.set_description(std::move(description));
  return violation;
}

grpc::Status InvalidFields(const std::vector<v1::FieldViolation>& violations) {
  v1::ErrorDetail detail;
  detail.set_reason("INVALID_FIELDS");
  for (const v1::FieldViolation& violation : violations) {
    *detail.add_field_violations() = violation;
    if (detail.ByteSizeLong() > kViolationBytesMax) break;
  }
  const v1::FieldViolation& first = violations.front();
  std::string message = absl::StrCat(first.field(), " ", first.description());
  if (violations.size() > 1) absl::StrAppend(&message, " (and ", violations.size() - 1, " more)");
  return WithDetail(absl::InvalidArgumentError(message), detail);
}

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace ovi
