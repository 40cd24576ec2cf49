#!/usr/bin/env bash
# Rules of this repository that no compiler knows.
set -euo pipefail
failed=0

# forbid PATTERN REASON PATHSPEC...
forbid() {
  local pattern="$1" reason="$2"
  shift 2
  if git grep -nE "$pattern" -- "$@"; then
    echo "lint: $reason"
    failed=1
  fi
}

forbid 'cudaMalloc|cudaMallocAsync' 'device memory comes from an arena (kernels/arena.h)' '*.h' '*.cc' '*.cu' ':!kernels/cuda'
forbid '#include [<"](mpi|nccl|cuda|dnnl|yaml-cpp)' 'models know no communication library, device or file format' 'worker/model' 'worker/pipeline'
forbid '\.data\)\[|reinterpret_cast<[^>]*>\([a-z_]+\.data\)' 'models touch device memory only through the backend' 'worker/model' 'worker/pipeline'
forbid '\b(TODO|FIXME)\b' 'unfinished work belongs into an issue' '*.h' '*.cc' '*.sh' '*.cmake' '*CMakeLists.txt' ':!tests/lint'
forbid 'using namespace std;' 'names are spelled out' '*.h' '*.cc'
forbid '(^|[^a-zA-Z0-9_./-])/(work|home|root)/' 'no paths of one machine' ':!tests/lint' ':!tests/client' ':!docs'
forbid 'file\(GLOB' 'sources are listed' '*CMakeLists.txt' '*.cmake'

# Two types of one name in one namespace are an ODR violation that no compiler of one file sees.
twice="$(git ls-files 'base/*.h' 'kernels/*.h' 'worker/*.h' 'coordinator/*.h' 'client/*.h' 'tests/*.h' | xargs awk '
  FNR == 1 { space = "" }
  /^namespace [a-z_:]+ \{/ { space = $2 }
  match($0, /^(struct|class|enum class) [A-Z][A-Za-z0-9]+( final)?( :|[ ]*\{)/) {
    name = $0; sub(/^(struct|class|enum class) /, "", name); sub(/[^A-Za-z0-9].*/, "", name); print space "::" name
  }' | sort | uniq -d)"
if [[ -n "$twice" ]]; then
  echo "lint: headers define a type of this name more than once: $twice"
  failed=1
fi

exit $failed
