// ovi-worker inspect FILE: the tensors of a checkpoint.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace ovi {

struct InspectOptions {
  std::string file;
  bool json = false;
};

CLI::App* AddInspectCommand(CLI::App& app, InspectOptions& options);
int RunInspect(const InspectOptions& options);

}  // namespace ovi
