// What a test program's main has for its tests.
#pragma once

#include "worker/group/mpi_session.h"

namespace ovi {

MpiSession& Session();

}  // namespace ovi
