#!/usr/bin/env bash
# Builds everything and runs the tests. Arguments go to ctest: tests/run.sh -L unit
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install-deps.sh
cmake --preset release
cmake --build --preset release
# Threads that spin while they wait make tests crawl on machines with other work.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
# Without it the metrics test is skipped.
if promtool="$(tests/promtool.sh)"; then export PATH="$promtool:$PATH"; fi
if [[ $# -eq 0 ]]; then set -- -LE "bench|lint"; fi
ctest --test-dir build/release --output-on-failure -j"$(nproc)" "$@"
