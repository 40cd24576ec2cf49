// Ctrl-C and SIGTERM as a flag that long work looks at.
#pragma once

#include <atomic>

namespace ovi {

// From now on the first signal asks politely; a second one ends the process by the default action.
void ListenForInterrupts();

// True once a signal has come.
const std::atomic<bool>& Interrupted();

}  // namespace ovi
