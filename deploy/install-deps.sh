#!/usr/bin/env bash
# Installs the Debian 12 packages that building, testing and running Ovi Cluster need. docs/dependencies.md says why each.
#   deploy/install-deps.sh          everything
#   deploy/install-deps.sh runtime  only what a built ovi-worker needs
set -euo pipefail

runtime=(
  ffmpeg libdnnl2 libgomp1 libgrpc++1.51 libicu72 libjpeg62-turbo liblapacke libopenblas0-serial libpng16-16
  libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 libprotobuf32 libsentencepiece0 libspdlog1.10 libsqlite3-0
  libssl3 libwebp7 libyaml-cpp0.7 openmpi-bin
)
build=(
  ccache clang-14 clang-format-14 clang-tidy-14 cmake g++ git iproute2 ninja-build pkg-config
  grpc-proto libabsl-dev libcli11-dev libclang-rt-14-dev libdnnl-dev libgmock-dev libgrpc++-dev libgtest-dev libicu-dev
  libjpeg62-turbo-dev liblapacke-dev libopenmpi-dev libpng-dev libprotobuf-dev libsentencepiece-dev libspdlog-dev
  libsqlite3-dev libssl-dev libwebp-dev libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev protobuf-compiler
  protobuf-compiler-grpc python3 python3-grpcio python3-protobuf
)

packages=("${runtime[@]}")
if [[ "${1:-all}" != runtime ]]; then packages+=("${build[@]}"); fi

missing=()
for package in "${packages[@]}"; do
  if [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]]; then
    missing+=("$package")
  fi
done
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "all packages are installed"
  exit 0
fi
echo "installing: ${missing[*]}"
sudo=""
if [[ "$(id -u)" -ne 0 ]]; then sudo=sudo; fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
