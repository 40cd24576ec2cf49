#!/usr/bin/env bash
# Runs all benchmarks on one core, once for each instruction set the processor has, and leaves their JSON in build/bench.
# Ratios are to the calibrated peak of the unit that computes, measured in the same process between the runs.
#   tests/bench/run.sh [isa...]      isa: generic avx512 avx512_bf16 amx (default: the last two)
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target attention_bench block_bench gemm_bench >/dev/null
mkdir -p build/bench
if [[ $# -eq 0 ]]; then set -- avx512_bf16 amx; fi
for isa in "$@"; do
  for bench in gemm attention block; do
    out="build/bench/$bench.$isa.json"
    OVI_CPU_ISA="$isa" OMP_WAIT_POLICY=passive "build/release/tests/bench/${bench}_bench" >"$out"
    echo "== $bench, OVI_CPU_ISA=$isa ($out)"
    grep -E '"(gflops|ratio)"' "$out" | sed -E 's/^ +//'
  done
done
