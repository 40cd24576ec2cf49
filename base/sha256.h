// SHA-256, incremental (FIPS 180-4; OpenSSL computes it).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ovi {

// The digest of all bytes given so far. Thread-compatible.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const std::uint8_t> bytes);
  void Update(std::string_view bytes);
  // 64 lower-case hex digits. Once; afterwards the object is as new.
  std::string FinishHex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Hex(std::string_view bytes);

// 64 digits of 0-9 and a-f: how a digest is spelled everywhere here.
bool IsSha256Hex(std::string_view text);

}  // namespace ovi
