// ovi-worker inspect FILE: the tensors of a checkpoint.
#pragma once

#include <string>

namespace ovi {

struct InspectOptions {
  std::string file;
  bool json = false;
};

int RunInspect(const InspectOptions& options);

}  // namespace ovi
