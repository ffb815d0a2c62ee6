// Kernel maps: which input row lies under a tap of each output row. They are made from the bits, tile by tile and a few taps at a
// time, and are never stored: what is read again and again is the bits, which are few.

#pragma once

#include "tiles.h"

// A row of the input, and the row of the output, counted from the tile's first, that it contributes to.
struct Pair {
    int32_t row, place;
};

// The pairs of one tap in a tile, in the order of the output's rows, each of which occurs at most once.
class Pairs {
  public:
    void clear() { length = 0; }
    int64_t size() const { return length; }
    const Pair &operator[](int64_t i) const { return list[i]; }

    // The pairs of these cells, all of which are sites of the input's span and the output's.
    void add(uint64_t cells, const Span &in, const Span &out, int64_t first_row) {
        for_runs(cells, in, out, [&](int64_t row, int64_t place, int64_t run) { add_run(int32_t(row), int32_t(place - first_row), run); });
    }

    // More pairs of no consequence, until their number is a multiple of n: a valid input row, and a place that nobody reads.
    int64_t padded(int64_t n, int64_t spare_place) {
        int64_t size = length;
        while (size % n) list[size++] = {list[0].row, int32_t(spare_place)};
        return size;
    }

  private:
    typedef int32_t Pairs4 __attribute__((vector_size(32), aligned(4), may_alias));

    Pair list[MOST_ROWS + 16];  // with room for padding and for the last four of a run
    int64_t length = 0;

    void add_run(int32_t row, int32_t place, int64_t run) {
        Pairs4 pairs = Pairs4{0, 0, 1, 1, 2, 2, 3, 3} + Pairs4{row, place, row, place, row, place, row, place};
        for (int64_t i = 0; i < run; i += 4, pairs += 4) *reinterpret_cast<Pairs4 *>(list + length + i) = pairs;
        length += run;
    }
};

constexpr int MOST_TAPS = 4;  // of a group

// A map has `groups` groups of `taps` taps each, which share what they read; tap(group, i) is the index of a tap among the weights,
// and collect(tile of `outputs`, group, pairs) appends the pairs of each tap of a group.

// 3×3×3 on the sites of `inputs`; a group is the three taps along z. `outputs` has these sites and perhaps more, which have no pairs.
struct SameSites {
    Grid inputs, outputs;
    int groups = 9, taps = 3;

    int64_t tap(int group, int i) const { return group + 9 * i; }

    void collect(const Tile &tile, int group, Pairs *pairs) const {
        const int64_t dx = group % 3 - 1, dy = group / 3 - 1;
        for (const Place &place : tile.places) {
            const int64_t x = place.x + dx, y = place.y + dy;
            const uint64_t cells = inputs.words[place.word];
            if (!cells || x < 0 || x >= inputs.X || y < 0 || y >= inputs.Y) continue;
            const Line line(inputs, place.line + dx * inputs.Y + dy);
            for (int i = 0; i < 3; ++i) {
                const Span in = line.from(place.z + i - 1);
                pairs[i].add(cells & in.bits, in, place.span, tile.first_row);
            }
        }
    }
};

static inline int64_t line_of(const Grid &grid, const Grid &other, const Place &place, int64_t x, int64_t y) {
    const int64_t item = place.line / (other.X * other.Y);
    return (item * grid.X + x) * grid.Y + y;
}

// The 32 cells of a line at twice the stride from `cell` on, each where the first of its two finer cells is.
static inline Span spread_from(const Line &line, int64_t cell) {
    const Span span = line.from(cell);
    return {spread(span.bits), span.row};
}

// Kernel 2 or 4 and stride 2 from fine to coarse: 2u + t under tap t of u. A group is the taps along z.
struct FineToCoarse {
    Grid inputs, outputs;
    int kernel;
    int groups = kernel * kernel, taps = kernel;

    int64_t tap(int group, int i) const { return group + int64_t(groups) * i; }

    void collect(const Tile &tile, int group, Pairs *pairs) const {
        for (const Place &place : tile.places) {
            const int64_t x = 2 * place.x + group % kernel, y = 2 * place.y + group / kernel;
            if (x >= inputs.X || y >= inputs.Y) continue;
            const Line line(inputs, line_of(inputs, outputs, place, x, y));
            for (int half = 0; half < 2; ++half) {
                const Span out = {spread(place.span.bits >> 32 * half), half ? place.span.row_at(32) : place.span.row};
                for (int i = 0; i < taps; ++i) {
                    const Span in = line.from(2 * place.z + 64 * half + i);
                    pairs[i].add(out.bits & in.bits, in, out, tile.first_row);
                }
            }
        }
    }
};

// Its adjoint: (f - t) / 2 under tap t of f.
struct CoarseToFine {
    Grid inputs, outputs;
    int kernel;
    int groups = kernel * kernel, taps = kernel;

    int64_t tap(int group, int i) const { return group + int64_t(groups) * i; }

    void collect(const Tile &tile, int group, Pairs *pairs) const {
        for (const Place &place : tile.places) {
            const int64_t x = place.x - group % kernel, y = place.y - group / kernel;
            if (x < 0 || y < 0 || x % 2 || y % 2 || x / 2 >= inputs.X || y / 2 >= inputs.Y) continue;
            const Line line(inputs, line_of(inputs, outputs, place, x / 2, y / 2));
            for (int i = 0; i < taps; ++i) {
                Span in = spread_from(line, place.z / 2 - i / 2);
                in.bits <<= i % 2;
                pairs[i].add(in.bits & place.span.bits, in, place.span, tile.first_row);
            }
        }
    }
};
