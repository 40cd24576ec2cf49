#include "worker/cli/interrupt.h"

#include <csignal>

namespace ovi {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free,
              "the signal handler below may only touch lock-free atomics");

void OnSignal(int signal) {
  interrupted.store(true, std::memory_order_relaxed);
  std::signal(signal, SIG_DFL);
}

}  // namespace

void ListenForInterrupts() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
}

const std::atomic<bool>& Interrupted() {
  return interrupted;
}

}  // namespace ovi
