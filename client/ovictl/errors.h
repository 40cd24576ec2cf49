// How errors look on a command line: one plain line each, in the user's words, and an exit code. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace ovi::client {

// What a failed call has to tell besides its status.
struct CallFacts {
  std::string coordinator;     // address, as the user wrote it
  double timeout_seconds = 0;  // it was given
  bool answered = false;       // the status is the coordinator's own word, not the transport's
  bool interrupted = false;    // we cancelled it, for the user
};

// The error of a call (`status` is not OK). Field violations travel in a payload, for the functions below.
absl::Status FromGrpc(const grpc::Status& status, const CallFacts& facts);

// What is wrong before anything has begun, of whatever kind: INVALID_ARGUMENT with the same message.
absl::Status CannotBegin(const absl::Status& status);

// The error of a call with what it was about in front: "cat.png: ...". As it is where the connection or the
// user ended the call, which is about no file or job.
absl::Status About(std::string_view what, const absl::Status& status);

// The error of a batch of which job `first` of `count` was the first one: tells which of the user's jobs it
// is about, where it is about one of several.
absl::Status OfBatch(absl::Status status, std::size_t first, std::size_t count);

// 2 for INVALID_ARGUMENT, 130 for CANCELLED (only ever by the user), 1 for every other error.
int ExitCodeOf(const absl::Status& status);

// What the user reads: a line a field where fields are wrong, else the message. Without "ovictl: ".
std::vector<std::string> ErrorLines(const absl::Status& status);

// The same for programs: {"error":{"code":...,"message":...,"reason":...,"fields":[{"field":...,...}]}}.
std::string ErrorJson(const absl::Status& status);

// The word that a job's YAML or an option has for a path in a request: "spec.solver" -> "solver_name", also
// in a batch ("requests[17].spec.solver").
std::string FieldWord(std::string_view path);

}  // namespace ovi::client
