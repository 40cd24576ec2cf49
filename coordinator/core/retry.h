// What follows from the end of an attempt: one table. Pure.
#pragma once

#include "coordinator/core/types.h"

namespace ovi::core {

enum class NextStep {
  kFinish,          // COMPLETED or CANCELLED
  kRetryElsewhere,  // another node if one can hold it, else the same
  kRetryAnywhere,   // not the fault of the node
  kGiveUp
};

// `attempt_count`: attempts so far, the ended one included.
NextStep AfterAttempt(AttemptEnd end, int attempt_count, const Policy& policy);

// "OUT_OF_MEMORY", "WORKER_CRASH", ...; "COMPLETED", "PENDING", ... : the words of the proto without their
// prefix.
const char* ToString(AttemptEnd end);
const char* ToString(JobState state);
bool IsLegal(JobState from, JobState to);

}  // namespace ovi::core
