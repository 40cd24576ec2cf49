#include "client/ovictl/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "client/ovictl/exit_code.h"

namespace ovi::client {

Interrupt::Interrupt() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  // A shell starts background jobs with SIGINT ignored; an ignored signal never reaches a signalfd.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_.Reset(::signalfd(-1, &signals, SFD_CLOEXEC));
  stop_fd_.Reset(::eventfd(0, EFD_CLOEXEC));
  OVI_CHECK(signal_fd_.valid() && stop_fd_.valid());
  listener_ = std::thread([this] { Listen(); });
}

Interrupt::~Interrupt() {
  const std::uint64_t one = 1;
  while (::write(stop_fd_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  listener_.join();
}

void Interrupt::Listen() {
  for (;;) {
    pollfd polled[2] = {{signal_fd_.get(), POLLIN, 0}, {stop_fd_.get(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0) continue;  // EINTR
    if (polled[1].revents != 0) return;
    signalfd_siginfo info;
    if (::read(signal_fd_.get(), &info, sizeof(info)) != sizeof(info)) continue;
    if (triggered()) ::_exit(kExitInterrupted);
    Trigger();
  }
}

void Interrupt::Trigger() {
  const std::lock_guard lock(mutex_);
  triggered_ = true;
  for (const std::function<void()>& action : actions_) action();
  changed_.notify_all();
}

bool Interrupt::WaitFor(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, duration, [this] { return triggered_.load(); });
}

Interrupt::Subscription::Subscription(Interrupt& interrupt, std::function<void()> action)
    : interrupt_(interrupt) {
  const std::lock_guard lock(interrupt_.mutex_);
  if (interrupt_.triggered_) action();
  place_ = interrupt_.actions_.insert(interrupt_.actions_.end(), std::move(action));
}

Interrupt::Subscription::~Subscription() {
  const std::lock_guard lock(interrupt_.mutex_);
  interrupt_.actions_.erase(place_);
}

}  // namespace ovi::client
