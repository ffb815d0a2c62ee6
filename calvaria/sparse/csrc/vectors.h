// Vectors of floats of the width that the processor has, by the compilers' vector extensions: one source for every instruction set.

#pragma once

#include <cstdint>
#include <type_traits>

// LEAST: lanes of the narrowest vectors in use. Channels are padded to a multiple of it: 8 or 24 would leave half of a wide one idle.
#if defined(__AVX512F__)
constexpr int LANES = 16, LEAST = 8;
#elif defined(__AVX2__)
constexpr int LANES = 8, LEAST = 8;
#else
constexpr int LANES = 4, LEAST = 4;  // SSE2, NEON
#endif

// Loads and stores through these types need no alignment. (As arguments of a template they would lose that.)
template <int N>
struct Of {
    typedef float Vector __attribute__((vector_size(4 * N), aligned(4), may_alias));
};
static_assert(alignof(Of<16>::Vector) == 4 && sizeof(Of<16>::Vector) == 64, "a compiler that overlooks attributes of N");

template <int N>
static inline typename Of<N>::Vector load(const float *from) {
    return *reinterpret_cast<const typename Of<N>::Vector *>(from);
}

template <int N>
static inline void store(float *to, typename Of<N>::Vector value) {
    *reinterpret_cast<typename Of<N>::Vector *>(to) = value;
}

template <int N>
static inline typename Of<N>::Vector all(float value) {
    return value - typename Of<N>::Vector{};
}

// Not a number stays that, as in PyTorch.
template <int N>
static inline typename Of<N>::Vector relu(typename Of<N>::Vector value) {
    return value < 0 ? typename Of<N>::Vector{} : value;
}

// The first n lanes, or all of them.
template <int N>
static inline void store_first(float *to, typename Of<N>::Vector value, int64_t n) {
    if (n >= N)
        store<N>(to, value);
    else
        for (int64_t i = 0; i < n; ++i) to[i] = value[i];
}

// body(c, lanes) for columns [c, c + lanes) of rows of a stride, a multiple of LEAST: whole vectors, then what is left. `lanes` is a
// constant.
template <class Body>
static inline void for_vectors(int64_t stride, const Body &body) {
    int64_t c = 0;
    for (; c + LANES <= stride; c += LANES) body(c, std::integral_constant<int, LANES>());
    if (c < stride) body(c, std::integral_constant<int, LEAST>());
}

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
