// Exit codes that scripts rely on.
#pragma once

namespace ovi::client {

enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,         // the coordinator, a job or a check said no
  kExitUsage = 2,          // it could not begin: options, files, a job that can never run
  kExitInterrupted = 130,  // Ctrl-C or SIGTERM
};

}  // namespace ovi::client
