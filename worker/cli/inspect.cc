#include "worker/cli/inspect.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "worker/cli/one_line.h"
#include "worker/weights/inspect.h"

namespace ovi {

CLI::App* AddInspectCommand(CLI::App& app, InspectOptions& options) {
  CLI::App* command =
      app.add_subcommand("inspect", "List the tensors of a checkpoint (safetensors, .pth, .pt)");
  command->add_option("FILE", options.file, "checkpoint file")->required();
  command->add_flag("--json", options.json, "machine-readable output");
  return command;
}

int RunInspect(const InspectOptions& options) {
  const absl::StatusOr<std::string> table = InspectWeights(options.file, options.json);
  if (!table.ok()) {
    PrintError({table.status().message().data(), table.status().message().size()});
    return 1;
  }
  std::fputs(table->c_str(), stdout);
  return 0;
}

}  // namespace ovi
