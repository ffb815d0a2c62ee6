// Bits of one 64-bit word; each with an instruction where the processor has one.

#pragma once

#include <cstdint>

#if defined(__BMI2__)
#include <immintrin.h>
#endif

static inline int64_t count(uint64_t word) { return __builtin_popcountll(word); }

// The position of the lowest set bit, some position if there is none.
static inline int lowest(uint64_t word) {
#if defined(__BMI__)
    return int(_tzcnt_u64(word));
#else
    return __builtin_ctzll(word | 1ull << 63);
#endif
}

// The lowest n bits set, 0 <= n <= 64.
static inline uint64_t ones(int64_t n) { return n >= 64 ? ~0ull : n <= 0 ? 0 : (1ull << n) - 1; }

// Bits 0, 2, 4 … 62 -> bits 0 … 31.
static inline uint64_t squeeze(uint64_t word) {
    word &= 0x5555555555555555;
    word = (word | word >> 1) & 0x3333333333333333;
    word = (word | word >> 2) & 0x0f0f0f0f0f0f0f0f;
    word = (word | word >> 4) & 0x00ff00ff00ff00ff;
    word = (word | word >> 8) & 0x0000ffff0000ffff;
    return (word | word >> 16) & 0x00000000ffffffff;
}

// Bits 0 … 31 -> bits 0, 2, 4 … 62.
static inline uint64_t spread(uint64_t word) {
    word &= 0x00000000ffffffff;
    word = (word | word << 16) & 0x0000ffff0000ffff;
    word = (word | word << 8) & 0x00ff00ff00ff00ff;
    word = (word | word << 4) & 0x0f0f0f0f0f0f0f0f;
    word = (word | word << 2) & 0x3333333333333333;
    return (word | word << 1) & 0x5555555555555555;
}

// The lowest bits of source, in order, at the set bits of places.
static inline uint64_t deposit(uint64_t source, uint64_t places) {
#if defined(__BMI2__)
    return _pdep_u64(source, places);
#else
    uint64_t word = 0;
    for (; places; places &= places - 1, source >>= 1)
        if (source & 1) word |= places & -places;
    return word;
#endif
}
