// Between the bits of a word and 64 bytes that are zero or not.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// Bit i is set where flags[i] is not zero, 0 <= i < 64.
static inline uint64_t gather_flags(const uint8_t *flags) {
#if defined(__AVX512BW__)
    const __m512i bytes = _mm512_loadu_si512(flags);
    return _mm512_test_epi8_mask(bytes, bytes);
#elif defined(__AVX2__)
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(flags));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(flags + 32));
    const uint64_t low_zeros = uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, zero)));
    const uint64_t high_zeros = uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, zero)));
    return ~(high_zeros << 32 | low_zeros);
#elif defined(__SSE2__)
    uint64_t zeros = 0;
    for (int i = 0; i < 4; ++i) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(flags + 16 * i));
        zeros |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())))) << (16 * i);
    }
    return ~zeros;
#else
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) {
        uint64_t bytes;
        std::memcpy(&bytes, flags + 8 * i, 8);
        // The top bit of each byte that is not zero, shifted to its lowest; the product brings byte k's to bit 56 + k.
        bytes = (((bytes & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f) | bytes) >> 7 & 0x0101010101010101;
        word |= (bytes * 0x0102040810204080) >> 56 << (8 * i);
    }
    return word;
#endif
}

// The same of the first n < 64 flags, and nothing read behind them.
static inline uint64_t gather_flags(const uint8_t *flags, int64_t n) {
    alignas(64) uint8_t padded[64] = {};
    std::memcpy(padded, flags, n);
    return gather_flags(padded);
}

// flags[i] = bit i, as 0 or 1, 0 <= i < 64.
static inline void scatter_flags(uint64_t word, uint8_t *flags) {
#if defined(__AVX512BW__)
    _mm512_storeu_si512(flags, _mm512_maskz_set1_epi8(word, 1));
#elif defined(__AVX2__)
    // Byte i of a half gets the half's byte i / 8, of which bit i % 8 is looked at.
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(int64_t(0x8040201008040201));
    for (int half = 0; half < 2; ++half) {
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(int32_t(word >> (32 * half))), spread);
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(flags + 32 * half), _mm256_and_si256(set, _mm256_set1_epi8(1)));
    }
#else
    for (int i = 0; i < 8; ++i) {
        const uint64_t set = ((word >> (8 * i) & 0xff) * 0x0101010101010101) & 0x8040201008040201;
        const uint64_t bytes = (set + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
        std::memcpy(flags + 8 * i, &bytes, 8);
    }
#endif
}

// The same for the first n < 64 flags, and nothing written behind them.
static inline void scatter_flags(uint64_t word, uint8_t *flags, int64_t n) {
    alignas(64) uint8_t padded[64];
    scatter_flags(word, padded);
    std::memcpy(flags, padded, n);
}
