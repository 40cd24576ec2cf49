#!/usr/bin/env bash
# Prints the folder of promtool, which checks metrics. Debian has it in the package prometheus, and installing that would start a server: so the
# package is only unpacked, beside the build.
set -euo pipefail
cd "$(dirname "$0")/.."
if tool="$(command -v promtool)"; then dirname "$tool"; exit; fi
folder="$PWD/build/promtool"
if [[ ! -x "$folder/usr/bin/promtool" ]]; then
  mkdir -p "$folder"
  (cd "$folder" && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) ||
    { echo "tests/promtool.sh: cannot download the package prometheus" >&2; exit 1; }
fi
echo "$folder/usr/bin"
