// How long a denoising step takes on a group of ranks: what each computes over its rates, and what of its
// exchanges does not hide behind that. docs/scaling.md has the assumptions and how near they come. Pure.
#pragma once

#include <cstdint>

#include "worker/plan/step_traffic.h"

namespace ovi {

// Arithmetic of one rank in one step, 2 operations a multiply-add. Block pairs only: the entry and the head
// are under 0.1 % of the real model.
struct StepWork {
  double matrix_flop = 0;      // linear layers
  double attention_flop = 0;   // scores and their products with the values
  std::int64_t exchanges = 0;  // collective operations that it waits for
};

StepWork StepWorkOf(const StepTrafficRequest& request, int rank);

// What a rank reaches in this model, not what its data sheet says.
struct RankSpeed {
  double matrix_flops = 1;     // a second
  double attention_flops = 1;  // a second
  double link_bytes = 1;       // a second, sent to other ranks while as much comes in
  double link_seconds = 0;     // before the first byte of an exchange
  // Of what may hide behind computing (half of the heads' exchange, and the gathering of the next weights),
  // the part that does: 1 where the link works by itself, 0 where moving bytes is the rank's own work.
  double overlap = 1;
};

struct StepTime {
  double compute_seconds = 0;
  double exchange_seconds = 0;  // that did not hide
  double seconds() const { return compute_seconds + exchange_seconds; }
};

// Of the slowest rank, each as fast as `speed` times its share of the fastest.
StepTime StepTimeOf(const StepTrafficRequest& request, const RankSpeed& speed);

}  // namespace ovi
