// Dense masks, one byte a cell, to bits and back.

#include "flags.h"
#include "interface.h"
#include "parallel.h"
#include "words.h"

#include <vector>

namespace {

constexpr int64_t CELLS_A_THREAD = 1 << 17;

int64_t lines_a_thread(int64_t line) { return CELLS_A_THREAD / std::max<int64_t>(line, 1) + 1; }

// Cells lie along z, as the bits do.
void pack_lines(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, uint64_t *words, int64_t Y,
                int64_t W) {
    parallel_for(x * y, lines_a_thread(z), [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int64_t i = line / y, j = line % y;
            const uint8_t *cells = mask + i * stride_x + j * stride_y;
            uint64_t *into = words + (i * Y + j) * W;
            for (int64_t k = 0; k + 64 <= z; k += 64) into[k / 64] = gather_flags(cells + k);
            if (z % 64) into[z / 64] = gather_flags(cells + z / 64 * 64, z % 64);
        }
    });
}

// octets[i] |= bit where flags[i] is not zero, 0 <= i < n.
void add_flags(const uint8_t *__restrict flags, uint8_t bit, int64_t n, uint8_t *__restrict octets) {
    for (int64_t i = 0; i < n; ++i) octets[i] |= flags[i] ? bit : 0;
}

// words[i * step] from its eight octets, which lie n bytes apart, 0 <= i < n.
void join_octets(const uint8_t *__restrict octets, int64_t n, int64_t step, uint64_t *__restrict words) {
    for (int64_t i = 0; i < n; ++i) {
        uint64_t word = 0;
        for (int64_t octet = 0; octet < 8; ++octet) word |= uint64_t(octets[octet * n + i]) << (8 * octet);
        words[i * step] = word;
    }
}

// Cells lie along x, as volumes come from files: row after row adds its bit to the words of all lines. For a few y at once, and eight
// words of each line, a cache line, are collected before they are written, as both cells and words lie far apart.
void pack_rows(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_y, int64_t stride_z, uint64_t *words, int64_t Y,
               int64_t W) {
    constexpr int64_t ROWS = 8, WORDS = 8;
    const int64_t groups = (z + 64 * WORDS - 1) / (64 * WORDS), tasks = (y + ROWS - 1) / ROWS * groups;
    parallel_blocks(tasks, CELLS_A_THREAD / (ROWS * x * std::min(z, 64 * WORDS)) + 1, [=](int64_t begin, int64_t end) {
        std::vector<uint8_t> octets(ROWS * x * 8);
        std::vector<uint64_t> collected(ROWS * x * WORDS);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t j = task / groups * ROWS, rows = std::min(ROWS, y - j);
            const int64_t first = task % groups * WORDS, n = std::min(WORDS, (z + 63) / 64 - first);
            for (int64_t w = 0; w < n; ++w) {
                std::fill(octets.begin(), octets.end(), 0);
                for (int64_t k = 64 * (first + w); k < std::min(64 * (first + w + 1), z); ++k)
                    for (int64_t row = 0; row < rows; ++row) {
                        const uint8_t *cells = mask + (j + row) * stride_y + k * stride_z;
                        for (int64_t i = 0; i < x; i += 64) __builtin_prefetch(cells + stride_z + i);
                        add_flags(cells, uint8_t(1 << (k % 8)), x, &octets[(k % 64 / 8 * rows + row) * x]);
                    }
                join_octets(octets.data(), rows * x, WORDS, &collected[w]);
            }
            for (int64_t i = 0; i < x; ++i)
                for (int64_t row = 0; row < rows; ++row)
                    std::copy_n(&collected[(row * x + i) * WORDS], n, words + (i * Y + j + row) * W + first);
        }
    });
}

}  // namespace

void pack(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, int64_t stride_z, uint64_t *words,
          int64_t Y, int64_t W) {
    if (stride_z == 1)
        pack_lines(mask, x, y, z, stride_x, stride_y, words, Y, W);
    else
        pack_rows(mask, x, y, z, stride_y, stride_z, words, Y, W);
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
