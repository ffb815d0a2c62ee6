// The sites of a grid, read 64 cells at a time.

#pragma once

#include "words.h"

#include <algorithm>

// Words [B, X, Y, W] and their rank index; interface.h says what they mean.
struct Grid {
    const uint64_t *words;
    const int32_t *starts;
    int64_t X, Y, W, size;  // size: B X Y W

    int64_t sites() const { return starts[size]; }
};

// 64 cells along z, and the row of the first site among them.
struct Span {
    uint64_t bits;
    int64_t row;

    int64_t row_at(int cell) const { return row + count(bits & ones(cell)); }
};

// A line of cells along z.
class Line {
  public:
    Line(const Grid &grid, int64_t line) : words(grid.words + line * grid.W), starts(grid.starts + line * grid.W), W(grid.W) {}

    // The 64 cells from `cell` on, some of which may lie before the line's first or after its last.
    Span from(int64_t cell) const {
        const int64_t w = cell >> 6;
        const int shift = cell & 63;
        const uint64_t low = word(w), high = shift ? word(w + 1) << (64 - shift) : 0;
        return {low >> shift | high, starts[std::clamp<int64_t>(w, 0, W)] + count(low & ones(shift))};
    }

  private:
    const uint64_t *words;
    const int32_t *starts;
    int64_t W;

    uint64_t word(int64_t w) const { return w >= 0 && w < W ? words[w] : 0; }
};

// Calls run(row in a, row in b, length) for every run of consecutive ones of these cells, all of which are sites of a and of b.
template <class Run>
static inline void for_runs(uint64_t cells, const Span &a, const Span &b, const Run &run) {
    while (cells) {
        const int cell = lowest(cells);
        const uint64_t after = ~(cells >> cell);
        run(a.row_at(cell), b.row_at(cell), int64_t(after ? lowest(after) : 64));
        cells &= cells + (1ull << cell);  // the carry clears the run
    }
}
