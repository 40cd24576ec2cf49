#!/usr/bin/env bash
# Fuzzes every reader of foreign bytes for SECONDS_EACH (default 60) seconds. New inputs stay in build/fuzz/new/<name>;
# a finding ends the run with the input that caused it.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="${SECONDS_EACH:-60}"
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target fuzzers -- -j2
for name in safetensors pickle lora yaml image; do
  mkdir -p "build/fuzz/new/$name"
  echo "== $name, $seconds s"
  log="build/fuzz/new/$name.log"
  if ! "build/fuzz/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2560 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/new/$name-" \
    "build/fuzz/new/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    echo "finding, or the fuzzer did not run:"
    tail -n 30 "$log"
    exit 1
  fi
  grep stat::number_of_executed_units "$log"
done
echo "no findings"
