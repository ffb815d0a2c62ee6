// Dense masks, one byte a cell, to bits and back.

#include "flags.h"
#include "interface.h"
#include "parallel.h"

namespace {

// Lines are short: so many cells are worth a thread.
constexpr int64_t CELLS_A_THREAD = 1 << 17;

int64_t lines_a_thread(int64_t line) { return CELLS_A_THREAD / std::max<int64_t>(line, 1) + 1; }

}  // namespace

void pack(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, uint64_t *words, int64_t Y,
          int64_t W) {
    parallel_for(x * y, lines_a_thread(z), [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int64_t i = line / y, j = line % y;
            const uint8_t *cells = mask + i * stride_x + j * stride_y;
            uint64_t *into = words + (i * Y + j) * W;
            for (int64_t w = 0; w < z / 64; ++w) into[w] = gather_flags(cells + 64 * w);
            if (z % 64) into[z / 64] = gather_flags(cells + z / 64 * 64, z % 64);
        }
    });
}

void unpack(const uint64_t *words, int64_t lines, int64_t W, int64_t depth, uint8_t *mask) {
    parallel_for(lines, lines_a_thread(depth), [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const uint64_t *from = words + line * W;
            uint8_t *cells = mask + line * depth;
            for (int64_t w = 0; w < depth / 64; ++w) scatter_flags(from[w], cells + 64 * w);
            if (depth % 64) scatter_flags(from[depth / 64], cells + depth / 64 * 64, depth % 64);
        }
    });
}
