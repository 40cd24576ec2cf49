// Macros that keep error paths one line long. Errors are absl::Status values; see docs/style notes on which
// code means what.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function with the error of `expr`, if it has one.
#define OVI_RETURN_IF_ERROR(expr) OVI_RETURN_IF_ERROR_IMPL(OVI_STATUS_CONCAT(ovi_status_, __COUNTER__), expr)
#define OVI_RETURN_IF_ERROR_IMPL(status, expr) \
  do {                                         \
    absl::Status status = (expr);              \
    if (!status.ok()) return status;           \
  } while (false)

#define OVI_STATUS_CONCAT_INNER(a, b) a##b
#define OVI_STATUS_CONCAT(a, b) OVI_STATUS_CONCAT_INNER(a, b)

// OVI_ASSIGN_OR_RETURN(int x, StatusOrInt()): declares x, or returns the error.
#define OVI_ASSIGN_OR_RETURN(lhs, expr) \
  OVI_ASSIGN_OR_RETURN_IMPL(OVI_STATUS_CONCAT(ovi_status_or_, __COUNTER__), lhs, expr)
#define OVI_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                              \
  if (!statusor.ok()) return statusor.status();        \
  lhs = *std::move(statusor)

namespace ovi {

// The same error with `context` in front: "weights/model.safetensors: <what went wrong>".
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace ovi
