// Vectors of floats of the width that the processor has, by the compilers' vector extensions: one source for every instruction set.

#pragma once

#include <cstdint>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;  // SSE2, NEON
#endif

// Loads and stores through this type need no alignment. (As an argument of a template it would lose that.)
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline Vector load(const float *from) { return *reinterpret_cast<const Vector *>(from); }
static inline void store(float *to, Vector value) { *reinterpret_cast<Vector *>(to) = value; }
static inline Vector all(float value) { return value - Vector{}; }

// Not a number stays that, as in PyTorch.
static inline Vector relu(Vector value) { return value < 0 ? Vector{} : value; }

// The first n lanes, or all of them.
static inline void store_first(float *to, Vector value, int64_t n) {
    if (n >= LANES)
        store(to, value);
    else
        for (int64_t i = 0; i < n; ++i) to[i] = value[i];
}

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
