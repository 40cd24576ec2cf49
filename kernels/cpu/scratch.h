// Host memory that a kernel needs beside its tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace ovi::cpu {

// Scratch that grows and is kept: cache lines aligned, contents undefined. Keep one a thread.
class Scratch {
 public:
  // At least `bytes` bytes, valid until the next call; nullptr when the system has none.
  std::byte* Reserve(std::int64_t bytes);

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::int64_t bytes_ = 0;
};

}  // namespace ovi::cpu
