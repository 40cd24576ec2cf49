#!/usr/bin/env bash
# Every C++ file is as clang-format leaves it.
set -euo pipefail
git ls-files -z '*.h' '*.cc' | xargs -0 clang-format-14 --dry-run --Werror
