#!/usr/bin/env bash
# Runs all benchmarks on one core (streaming: and another for its copies) and holds them against their goals, once for each instruction set.
# Ratios are to the calibrated peak of the unit that computes, measured in the same process between the runs.
# JSON stays in build/bench. Exit 1 where a goal is missed.
#   [REPEAT=3] tests/bench/run.sh [isa...]
# isa: generic avx512 avx512_bf16 amx; default: what this processor has of the last two, else the best it has.
# REPEAT: runs of each benchmark, the best of which counts: on a shared machine a neighbour spoils some.
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target attention_bench block_bench gemm_bench streaming_bench >/dev/null
mkdir -p build/bench

has() { grep -qw "$1" /proc/cpuinfo; }
if [[ $# -eq 0 ]]; then
  if has avx512_bf16; then set -- avx512_bf16; elif has avx512f; then set -- avx512; else set -- generic; fi
  if has amx_tile; then set -- "$@" amx; fi
fi
missed=0
for isa in "$@"; do
  results=()
  for ((run = 1; run <= ${REPEAT:-1}; ++run)); do
    for bench in gemm attention block streaming; do
      out="build/bench/$bench.$isa.$run.json"
      OVI_CPU_ISA="$isa" OMP_WAIT_POLICY=passive "build/release/tests/bench/${bench}_bench" >"$out"
      results+=("$out")
    done
  done
  echo "== OVI_CPU_ISA=$isa, best of ${REPEAT:-1} ($(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs))"
  grep -h '"peaks"' "build/bench/gemm.$isa.1.json" | sed -E 's/^ +//'
  tests/bench/goals.py "${results[@]}" || missed=1
  grep -h -A8 '"memory"' "build/bench/block.$isa.1.json" | grep bytes
done
exit $missed
