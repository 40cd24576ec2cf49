// OVI_CHECK(condition): aborts with file and line when an invariant of ours is broken. Never for input from
// outside.
#pragma once

#include <cstdio>
#include <cstdlib>

#define OVI_CHECK(condition)                                                                 \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
