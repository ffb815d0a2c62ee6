// Dense masks, one byte a cell, to bits and back.

#include "flags.h"
#include "interface.h"
#include "parallel.h"
#include "words.h"

#include <vector>

namespace {

constexpr int64_t CELLS_A_THREAD = 1 << 17;

int64_t lines_a_thread(int64_t line) { return CELLS_A_THREAD / std::max<int64_t>(line, 1) + 1; }

// The first n flags, n <= 64.
uint64_t flags(const uint8_t *cells, int64_t n) { return n == 64 ? gather_flags(cells) : gather_flags(cells, n); }

// Cells lie along z, as the bits do.
void pack_lines(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, uint64_t *words, int64_t Y,
                int64_t W) {
    parallel_for(x * y, lines_a_thread(z), [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int64_t i = line / y, j = line % y;
            const uint8_t *cells = mask + i * stride_x + j * stride_y;
            uint64_t *into = words + (i * Y + j) * W;
            for (int64_t k = 0; k < z; k += 64) into[k / 64] = flags(cells + k, std::min<int64_t>(64, z - k));
        }
    });
}

// Swaps rows and columns of 64 × 64 bits: halves of the block, then of each quarter, and so on.
void transpose(uint64_t *block) {
    uint64_t low = 0x00000000ffffffff;
    for (int64_t step = 32; step; step >>= 1, low ^= low << step)
        for (int64_t i = 0; i < 64; i += 2 * step)
            for (int64_t row = i; row < i + step; ++row) {
                const uint64_t swapped = (block[row] >> step ^ block[row + step]) & low;
                block[row] ^= swapped << step;
                block[row + step] ^= swapped;
            }
}

// Cells lie along x, as volumes come from files: for one y, 64 planes at a time are gathered along x, and their bits turned to lie
// along z. Eight words of each line are collected, a cache line, before any is written: the lines lie far apart.
void pack_planes(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_y, int64_t stride_z, uint64_t *words, int64_t Y,
                 int64_t W) {
    const int64_t tiles = (x + 63) / 64, groups = (z + 511) / 512;
    parallel_for(y * groups, lines_a_thread(x * std::min<int64_t>(z, 512)), [=](int64_t begin, int64_t end) {
        std::vector<uint64_t> turned(tiles * 64 * 8), block(tiles * 64);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t j = task / groups, first = task % groups * 8, n = std::min<int64_t>(8, (z + 63) / 64 - first);
            for (int64_t w = 0; w < n; ++w) {
                for (int64_t plane = 0; plane < 64; ++plane) {
                    const int64_t k = 64 * (first + w) + plane;
                    const uint8_t *cells = mask + j * stride_y + k * stride_z;
                    for (int64_t i = 0; i < x; i += 64) block[i + plane] = k < z ? flags(cells + i, std::min<int64_t>(64, x - i)) : 0;
                }
                for (int64_t i = 0; i < x; i += 64) {
                    transpose(&block[i]);
                    for (int64_t line = 0; line < 64; ++line) turned[(i + line) * 8 + w] = block[i + line];
                }
            }
            for (int64_t i = 0; i < x; ++i) std::copy_n(&turned[i * 8], n, words + (i * Y + j) * W + first);
        }
    });
}

}  // namespace

void pack(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, int64_t stride_z, uint64_t *words,
          int64_t Y, int64_t W) {
    if (stride_z == 1)
        pack_lines(mask, x, y, z, stride_x, stride_y, words, Y, W);
    else
        pack_planes(mask, x, y, z, stride_y, stride_z, words, Y, W);
}

void unpack(const uint64_t *words, int64_t x, int64_t y, int64_t stride_x, int64_t stride_y, int64_t depth, uint8_t *mask) {
    parallel_for(x * y, lines_a_thread(depth), [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const uint64_t *from = words + line / y * stride_x + line % y * stride_y;
            uint8_t *cells = mask + line * depth;
            for (int64_t k = 0; k + 64 <= depth; k += 64)
                if (from[k / 64]) scatter_flags(from[k / 64], cells + k);
            if (depth % 64) scatter_flags(from[depth / 64], cells + depth / 64 * 64, depth % 64);
        }
    });
}
