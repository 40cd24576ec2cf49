// absl::Status to grpc::Status, with what went wrong with which field.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "ovi/v1/job.pb.h"

namespace ovi {

// Same code, same message. The codes are the same numbers on both sides.
grpc::Status ToGrpcStatus(const absl::Status& status);

// With an ErrorDetail (its `reason`, for programs: UPPER_SNAKE_CASE) in grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status, std::string_view reason);

v1::FieldViolation Violation(std::string field, std::string description);

// INVALID_ARGUMENT with the violations, the first of them where there are more than metadata may hold; the
// message is the first and how many more there are. At least one.
grpc::Status InvalidFields(const std::vector<v1::FieldViolation>& violations);

// The whole answer of a call that needs no waiting.
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, const grpc::Status& status);

}  // namespace ovi
