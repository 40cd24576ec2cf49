#include "worker/cli/inspect.h"

#include <cstdio>

#include "worker/cli/print_error.h"
#include "worker/weights/inspect.h"

namespace ovi {

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
