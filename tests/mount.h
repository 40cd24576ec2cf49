// A disk of a test's own: small, or read-only.
#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

namespace ovi {

// A tmpfs of `options` mounted on `folder` for as long as this lives, where the test may mount one.
class Mount {
 public:
  Mount(std::string folder, unsigned long flags, const char* options) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    mounted_ = ::mount("tmpfs", folder_.c_str(), "tmpfs", flags, options) == 0;
    if (!mounted_) reason_ = std::strerror(errno);
  }
  ~Mount() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& reason() const { return reason_; }

 private:
  std::string folder_, reason_;
  bool mounted_ = false;
};

}  // namespace ovi
