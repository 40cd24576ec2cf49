#!/usr/bin/env bash
# From a fresh clone to videos made by a cluster: installs what is missing, builds, starts a coordinator and two agents with four declared GPUs
# each (the ranks compute on the CPU, within the bytes declared), runs five jobs, and stops everything again, also on Ctrl-C.
#   deploy/demo.sh ["A green triangle bounces on a white background. Audio: a rising sweep."]
# Results: out/demo, or $OVI_DEMO_OUT.
set -euo pipefail
cd "$(dirname "$0")/.."
prompt="${1:-A red circle moves right across a black background. Audio: a low steady tone.}"
out="${OVI_DEMO_OUT:-out/demo}"

deploy/install-deps.sh
mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
cmake --build --preset release --target ovi-coordinator ovi-agent ovi-worker ovictl
coordinator=build/release/coordinator/ovi-coordinator
agent=build/release/worker/agent/ovi-agent
ovictl() { build/release/client/ovictl/ovictl --coordinator "$address" "$@"; }

state="$(mktemp -d -t ovi-demo-XXXXXX)"
pids=()
stop_all() {
  trap - EXIT INT TERM
  # Agents first: each ends its groups before it goes.
  for pid in "${pids[@]:1}" "${pids[@]:0:1}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$state"
}
trap stop_all EXIT
trap 'echo; echo "demo: stopped, with all that it had started"; exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }

began=$SECONDS
say "a coordinator"
"$coordinator" --listen 127.0.0.1:0 --data-dir "$state/coordinator" --metrics off >"$state/coordinator.out" 2>"$state/coordinator.log" &
pids+=($!)
# It prints its port once it serves.
until address="127.0.0.1:$(grep -oP '(?<=port )[0-9]+' "$state/coordinator.out")"; do
  kill -0 "${pids[0]}" 2>/dev/null || { cat "$state/coordinator.log"; exit 1; }
  sleep 0.1
done
echo "serves $address"

say "two agents, four declared GPUs each"
for name in box-1 box-2; do
  cat >"$state/$name.yaml" <<YAML
name: $name
coordinator: $address
node_token_file: $state/coordinator/node_token
state_dir: $state/$name
metrics_address: ""
gpus:
  - {name: declared, vram: "64 MiB"}
  - {name: declared, vram: "64 MiB"}
  - {name: declared, vram: "64 MiB"}
  - {name: declared, vram: "64 MiB"}
YAML
  "$agent" --config "$state/$name.yaml" >"$state/$name.log" 2>&1 &
  pids+=($!)
done
until [[ "$(ovictl nodes --json | grep -c NODE_STATE_READY)" -ge 2 ]]; do
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || { cat "$state"/*.log; exit 1; }; done
  sleep 0.1
done
ovictl nodes

mkdir -p "$out"
say "text to video on one GPU"
first="$(ovictl submit --config configs/jobs/mini-ovi.yaml --set "text_prompt=$prompt" --set gpu_allocation=single)"
ovictl watch "$first"
ovictl fetch "$first" --out "$out" >/dev/null

say "image to video on two GPUs (from the first clip's poster), and a list of three prompts"
cat >"$state/prompts.csv" <<'CSV'
text_prompt
A green square moves left across a white background. Audio: a mid steady tone.
A yellow triangle moves up across a blue background. Audio: a high steady tone.
A purple circle grows on a gray background. Audio: short beeps.
CSV
mapfile -t jobs < <(
  ovictl submit --config configs/jobs/mini-ovi.yaml --set "text_prompt=$prompt" --set mode=i2v \
    --set "image_path=$out/${first}_poster.png" --set gpu_allocation=multi_2
  ovictl submit --config configs/jobs/mini-ovi.yaml --csv "$state/prompts.csv"
)
ovictl watch "${jobs[@]}"
ovictl fetch "${jobs[@]}" --out "$out" >/dev/null

jobs=("$first" "${jobs[@]}")
say "summary: ${#jobs[@]} clips in $((SECONDS - began)) s, the cluster's start included"
ovictl list
printf '\nvideos and contact sheets\n'
for job in "${jobs[@]}"; do ls "$out/${job}_video.mp4" "$out/${job}_contact_sheet.png" | paste -s -d ' '; done
