// What follows from the end of an attempt: one table. Pure.
#pragma once

#include <string>

#include "coordinator/core/types.h"

namespace ovi::core {

enum class NextStep {
  kFinish,              // COMPLETED or CANCELLED
  kRetryElsewhere,      // another node if one can hold it, else the same
  kRetryOnlyElsewhere,  // another node, as often as there is one
  kRetryAnywhere,       // not the fault of the node
  kGiveUp
};

// Of one job so far, the one that just ended included.
struct AttemptCounts {
  int all = 0;  // but those that ended NODE_NOT_READY: they take seconds, and no node has two of them
  int out_of_memory = 0;
};

// The ladder of memory modes will be one more step here, between another try and giving up.
NextStep AfterAttempt(AttemptEnd end, const AttemptCounts& counts, const Policy& policy);

// "OUT_OF_MEMORY", "WORKER_CRASH", ...; "COMPLETED", "PENDING", ... : the words of the proto without their
// prefix.
const char* ToString(AttemptEnd end);
const char* ToString(JobState state);
// Of an attempt that ended: "attempt 1 ended as WORKER_CRASH on box-1: exit code 139".
std::string Describe(const Attempt& attempt);
// The diagram at JobState.
bool IsLegal(JobState from, JobState to);

}  // namespace ovi::core
