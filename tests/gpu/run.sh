#!/usr/bin/env bash
# What needs a GPU, on a machine that has one: tests/gpu/run.sh
# Where the program is built elsewhere and neither its libraries nor its build are at hand: tests/gpu/run.sh --bundle DIR there makes
# DIR/gpu.tar.xz, and tests/gpu/run.sh --unpack DIR here runs from it.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build/release
programs=(tests/gpu/gpu_nvml_test worker/agent/ovi-agent coordinator/ovi-coordinator client/ovictl/ovictl
  tests/kernels/gemm_test tests/kernels/attention_test tests/bench/gemm_bench tests/bench/streaming_bench)
scratch="$(mktemp -d)"
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$scratch"
}
trap stop EXIT

if [[ "${1:-}" == --bundle ]]; then
  mkdir -p "$2" "$scratch/lib"
  for program in "${programs[@]}"; do
    strip -o "$scratch/$(basename "$program")" "$build/$program"
    # The C library stays: a newer one runs what an older one linked.
    ldd "$build/$program" | awk '/=> \//{print $3}' | grep -vE '/(libc|libm|libgcc_s|libpthread|libdl|librt)\.so' |
      xargs -I{} cp -L --update {} "$scratch/lib/"
  done
  tar -C "$scratch" -c . | xz -T0 -6 >"$2/gpu.tar.xz"
  exit 0
fi
if [[ "${1:-}" == --unpack ]]; then
  tar -C "$scratch" -xJf "$2/gpu.tar.xz"
  export LD_LIBRARY_PATH="$scratch/lib"
  find_program() { echo "$scratch/$1"; }
else
  find_program() { find "$build" -type f -name "$1" -perm -u+x | head -1; }
fi

failed=0
check() { echo "== $*"; "$@" || { failed=1; echo "FAILED: $*"; }; }
export OVI_TEST_GPU=1 OMP_WAIT_POLICY=passive
check "$(find_program gpu_nvml_test)"

echo "== an agent that finds its GPUs by itself, as a user sees them"
mkdir "$scratch/models"
"$(find_program ovi-coordinator)" --data-dir "$scratch/data" --listen 127.0.0.1:7790 --metrics off --set insecure=true >"$scratch/coordinator.log" 2>&1 &
pids+=($!)
"$(find_program ovi-agent)" --coordinator 127.0.0.1:7790 --insecure --state-dir "$scratch/agent" --models-dir "$scratch/models" >"$scratch/agent.log" 2>&1 &
pids+=($!)
ovictl="$(find_program ovictl)"
export OVI_COORDINATOR=127.0.0.1:7790
# It logs when the coordinator has taken it.
grep -qm1 "coordinator reached" < <(timeout 60 tail -n +1 -F "$scratch/agent.log" 2>/dev/null) || { failed=1; cat "$scratch"/*.log; }
check "$ovictl" nodes
if ! "$ovictl" nodes --json | grep -q GPU-; then failed=1; cat "$scratch"/*.log; fi

if grep -q amx_tile /proc/cpuinfo; then
  echo "== AMX: kernels of the CPU backend and what they reach"
  check env OMP_NUM_THREADS=8 "$(find_program gemm_test)" --gtest_brief=1
  check env OMP_NUM_THREADS=8 "$(find_program attention_test)" --gtest_brief=1
  check "$(find_program gemm_bench)" --m=1125 --rounds=2
  check "$(find_program streaming_bench)" --layers 2
fi
if command -v python3 >/dev/null && python3 -c 'import torch' 2>/dev/null; then
  check env -u LD_LIBRARY_PATH python3 tests/gpu/card_rates.py "${@:3}"
fi
exit "$failed"
