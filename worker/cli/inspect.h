// ovi-worker inspect FILE: the tensors of a checkpoint, and whether an adapter fits a model.
#pragma once

#include <string>

namespace ovi {

struct InspectOptions {
  std::string file;
  std::string model;  // folder or name of the one to hold an adapter against; "" for none
  bool json = false;
};

int RunInspect(const InspectOptions& options);

}  // namespace ovi
