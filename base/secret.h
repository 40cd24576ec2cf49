// Secrets: tokens made of random bits, the files they live in, and proofs made with them. A secret travels in
// gRPC metadata or in a file of mode 0600, never in argv or a log.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

enum class SecretBits { k128 = 128, k256 = 256 };

// A new secret from the kernel's random source, as lower-case hex: 32 or 64 digits.
std::string NewSecret(SecretBits bits = SecretBits::k256);

// The first line of `path` without blanks around it; no more lines may follow. PERMISSION_DENIED when group
// or others may read or write it, or it belongs to a third user (neither us nor root); INVALID_ARGUMENT when
// it is empty, has several lines, or more than 4096 bytes; else as OpenRegularFile. The message never holds
// what is in the file.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);

// Creates or replaces `path` atomically, mode 0600 from its first moment, on disk when it returns.
// INVALID_ARGUMENT for a secret that ReadSecretFile would not give back; FAILED_PRECONDITION when the folder
// is missing or not writable; UNAVAILABLE when the disk is full or fails.
absl::Status WriteSecretFile(const std::string& path, std::string_view secret);

// HMAC-SHA256 (RFC 2104) of `text` under `secret`: 64 lower-case hex digits. So one secret makes many tokens
// that cannot be guessed from one another, e.g. one a group.
std::string HmacSha256Hex(std::string_view secret, std::string_view text);

// a == b in a time that depends on their lengths alone, so that no one can guess a secret byte by byte.
bool EqualInConstantTime(std::string_view a, std::string_view b);

}  // namespace ovi
