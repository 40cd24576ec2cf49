// Loops over rows on the CPU backend's threads.
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace ovi::cpu {

inline int ThreadCount() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// For the process. Call before the first parallel loop.
inline void SetThreadCount([[maybe_unused]] int count) {
#ifdef _OPENMP
  omp_set_num_threads(count);
#endif
}

// Calls body(begin, end) on disjoint ranges that cover [0, count), at least `grain` items each. The ranges
// depend on the thread count, so a body must not let them change its result.
template <typename Body>
void ParallelFor(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count <= 0) return;
  const std::int64_t pieces =
      std::min<std::int64_t>(ThreadCount(), (count + grain - 1) / std::max<std::int64_t>(grain, 1));
  if (pieces <= 1) {
    body(std::int64_t{0}, count);
    return;
  }
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(pieces))
#endif
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    body(count * piece / pieces, count * (piece + 1) / pieces);
  }
}

// Calls body(index) for every index in [0, count); indices are dealt out as threads come free.
template <typename Body>
void ParallelForEach(std::int64_t count, const Body& body) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) if (count > 1)
#endif
  for (std::int64_t index = 0; index < count; ++index) body(index);
}

}  // namespace ovi::cpu
