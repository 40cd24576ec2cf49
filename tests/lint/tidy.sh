#!/usr/bin/env bash
# clang-tidy over our sources, with the compile commands of the build folder given: tests/lint/tidy.sh BUILD [deep]
# `deep` adds what is too slow for every run: all of bugprone and performance, and the analyzer.
set -euo pipefail
build="$1"
checks=()
if [[ "${2:-}" == deep ]]; then
  # Left out is what is noise in numeric code or a matter of taste.
  off=(easily-swappable-parameters exception-escape narrowing-conversions implicit-widening-of-multiplication-result macro-parentheses
       unchecked-optional-access reserved-identifier)
  checks=("--checks=bugprone-*$(printf ',-bugprone-%s' "${off[@]}"),clang-analyzer-core.*,clang-analyzer-cplusplus.*,misc-unused-using-decls,misc-unused-alias-decls,performance-*,-performance-enum-size,-performance-inefficient-vector-operation,-performance-no-int-to-ptr,modernize-use-nullptr,readability-container-size-empty")
fi
# Clang refuses an option that only GCC knows, even to lint.
mkdir -p "$build/lint"
sed 's/-fno-thread-jumps//g' "$build/compile_commands.json" >"$build/lint/compile_commands.json"
git ls-files -z 'base/*.cc' 'client/*.cc' 'coordinator/*.cc' 'kernels/*.cc' 'worker/*.cc' |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy-14 -p "$build/lint" --quiet --extra-arg=-Wno-unknown-warning-option "${checks[@]}" 2>/dev/null
