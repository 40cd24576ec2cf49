#include "base/secret.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/regular_file.h"
#include "base/status.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace ovi {
namespace {

constexpr std::size_t kSecretBytesMax = 4096;

// Why `text` cannot be the one line of a secret file; "" when it can.
const char* Problem(std::string_view text) {
  if (text.empty()) return "holds no secret";
  if (text.find('\n') != std::string_view::npos) return "holds more than one line";
  return "";
}

absl::StatusOr<std::string> ReadUpTo(int fd, const std::string& path, std::size_t bytes_max) {
  std::string bytes(bytes_max, '\0');
  std::size_t held = 0;
  while (held < bytes.size()) {
    const ssize_t count = ::read(fd, bytes.data() + held, bytes.size() - held);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read"));
    if (count == 0) break;
    held += static_cast<std::size_t>(count);
  }
  bytes.resize(held);
  return bytes;
}

absl::Status WriteFailure(absl::StatusCode code, const std::string& path, int error) {
  return absl::Status(code,
                      absl::StrCat(path, ": cannot write it: ", std::generic_category().message(error)));
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

std::string NewSecret(SecretBits bits) {
  std::array<char, 32> random{};
  const std::size_t bytes = static_cast<std::size_t>(bits) / 8;
  // Up to 256 bytes come whole or not at all, and not only before the kernel has gathered enough
  // (getrandom(2)).
  OVI_CHECK(::getrandom(random.data(), bytes, 0) == static_cast<ssize_t>(bytes));
  return absl::BytesToHexString(absl::string_view(random.data(), bytes));
}

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(const RegularFile file, OpenRegularFile(path));
  struct stat info {};
  if (::fstat(file.fd.get(), &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot stat"));
  if ((info.st_mode & 0077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrFormat("%s: has mode %04o, so others than its owner may use it; a secret needs 0600", path,
                        info.st_mode & 07777));
  }
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return absl::PermissionDeniedError(absl::StrCat(path, ": belongs to user ", info.st_uid,
                                                    ", not to us (user ", ::geteuid(), ") or root"));
  }
  OVI_ASSIGN_OR_RETURN(const std::string bytes, ReadUpTo(file.fd.get(), path, kSecretBytesMax + 1));
  if (bytes.size() > kSecretBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": has more than the ", kSecretBytesMax, " bytes allowed for a secret"));
  }
  const std::string_view secret = Trimmed(bytes);
  if (const std::string_view problem = Problem(secret); !problem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", absl::string_view(problem.data(), problem.size())));
  }
  return std::string(secret);
}

absl::Status WriteSecretFile(const std::string& path, std::string_view secret) {
  const char* problem = Problem(secret);
  if (*problem == '\0' && secret != Trimmed(secret)) problem = "has blanks around it";
  if (*problem == '\0' && secret.size() >= kSecretBytesMax) problem = "is too long";
  if (*problem != '\0')
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot write it: the text ", problem));

  // Not a PartFile: that one is readable by others until somebody changes its mode.
  const std::string part_path = absl::StrCat(path, ".", NewSecret(SecretBits::k128), ".part");
  const UniqueFd fd(::open(part_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return WriteFailure(absl::StatusCode::kFailedPrecondition, path, errno);
  if (WriteAll(fd.get(), absl::StrCat(absl::string_view(secret.data(), secret.size()), "\n")) &&
      ::fsync(fd.get()) == 0 && ::rename(part_path.c_str(), path.c_str()) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  ::unlink(part_path.c_str());
  return WriteFailure(
      error == EISDIR ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kUnavailable, path, error);
}

std::string HmacSha256Hex(std::string_view secret, std::string_view text) {
  OVI_CHECK(secret.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  OVI_CHECK(HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                 reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(),
                 &length) != nullptr);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), length));
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace ovi
