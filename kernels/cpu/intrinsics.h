// The processor's vector and tile instructions, where there are any.
#pragma once

#if defined(__x86_64__)
// GCC 12 warns about its own intrinsics, whose undefined vectors are meant (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif
