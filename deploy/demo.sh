#!/usr/bin/env bash
# From a fresh clone to a video: installs what is missing, builds, and makes a clip with the miniature model.
#   deploy/demo.sh ["A green triangle bounces on a white background. Audio: a rising sweep."]
set -euo pipefail
cd "$(dirname "$0")/.."
prompt="${1:-A red circle moves right across a black background. Audio: a low steady tone.}"
out="${OVI_DEMO_OUT:-out/demo}"

deploy/install-deps.sh
mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
cmake --build --preset release --target ovi-worker

echo
build/release/worker/cli/ovi-worker generate --config configs/jobs/mini-ovi.yaml --set "text_prompt=$prompt" --out "$out"
