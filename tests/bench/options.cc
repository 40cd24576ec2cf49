#include "tests/bench/options.h"

#include <sched.h>

#include "absl/strings/numbers.h"
#include "kernels/cpu/parallel.h"

namespace ovi::bench {

bool ParseNumbers(int argc, char** argv, const std::map<std::string, std::int64_t*>& numbers) {
  for (int i = 1; i < argc; i += 2) {
    const auto found = numbers.find(argv[i]);
    if (found == numbers.end() || i + 1 == argc || !absl::SimpleAtoi(argv[i + 1], found->second) ||
        *found->second < 1) {
      return false;
    }
  }
  return true;
}

void PinToCore(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  sched_setaffinity(0, sizeof cores, &cores);
  cpu::SetThreadCount(1);
}

}  // namespace ovi::bench
