// Lines of cells laid out densely around the sites that a core works on: eight channels a cell, zeros where there is no site.

#pragma once

#include "tiles.h"
#include "vectors.h"

#include <vector>

constexpr int64_t EIGHT = 8;  // channels
typedef Of<EIGHT>::Vector Eight;

static inline Eight &eight(float *at) { return *reinterpret_cast<Eight *>(at); }
static inline const Eight &eight(const float *at) { return *reinterpret_cast<const Eight *>(at); }

constexpr int64_t STRIP_LINES = 14;  // along y, at most

// The lines of a strip along x and those beside it, in three neighbouring planes, of which the middle one moves along x: so every line is
// laid out once for all the lines that it is a neighbour of. It is laid out when it is first needed.
class DenseLines {
  public:
    DenseLines(const Grid &grid, const float *features)
        : grid(grid), features(features), stride((64 * grid.W + 4) * EIGHT), cells(3 * HEIGHT * stride), near(3 * HEIGHT * grid.W) {}

    // For the strip of this item that begins at this y. Between strips all cells are zero.
    void open(int64_t of_item, int64_t y) { item = of_item, y_begin = y; }

    // To the plane x: the first of a strip, or that after the one before.
    void move(int64_t x) {
        clear(plane_of(x + 1));
        centre = x;
        for (int64_t i = 0; i < 9; ++i) around[i] = plane_of(x + i % 3 - 1) * HEIGHT + i / 3;
    }

    void close() {
        for (int64_t plane = 0; plane < 3; ++plane) clear(plane);
    }

    // Lays out the nine lines around a line of the middle plane that have not been yet.
    void fill_around(int64_t y) {
        for (int64_t x = centre - 1; x <= centre + 1; ++x)
            for (int64_t beside = y - 1; beside <= y + 1; ++beside) {
                const int64_t i = plane_of(x) * HEIGHT + beside - y_begin + 1;
                if (!filled[i]) fill(i, x, beside);
            }
    }

    // The cell before z in the first of the nine lines around y …
    const float *window(int64_t y, int64_t z) const { return cells.data() + (y - y_begin) * stride + z * EIGHT; }

    // … and the way from there to each of the nine, x before y.
    int64_t offset(int line) const { return around[line] * stride; }

    // Which of the nine have a site among the cells z - 1 … z + 2 of any of these z, which are bits of word w; as a bit each.
    int occupied(int64_t y, int64_t w, uint64_t z) const {
        const uint64_t *words = near.data() + (y - y_begin) * grid.W + w;
        int lines = 0;
        for (int i = 0; i < 9; ++i) lines |= int((words[around[i] * grid.W] & z) != 0) << i;
        return lines;
    }

  private:
    static constexpr int64_t HEIGHT = STRIP_LINES + 2;

    const Grid grid;
    const float *features;
    int64_t item = 0, y_begin = 0, centre = 0;  // of the strip, and the middle plane
    const int64_t stride;                       // floats of a line: the cells from -1 on, and at the end three that stay zero
    std::vector<float> cells;                   // [3, HEIGHT, stride]
    std::vector<uint64_t> near;                 // [3, HEIGHT, W]: bit k: a site among the cells k - 1 … k + 2
    int64_t filled[3 * HEIGHT] = {};            // 1 + the grid's line laid out there, OUTSIDE if there is none, 0 if not asked for
    int64_t around[9] = {};                     // places of the nine lines around the middle plane's y_begin

    static constexpr int64_t OUTSIDE = -1;

    static int64_t plane_of(int64_t x) { return (x + 3) % 3; }

    void fill(int64_t i, int64_t x, int64_t y) {
        filled[i] = OUTSIDE;
        if (x < 0 || x >= grid.X || y < 0 || y >= grid.Y) return;
        const int64_t line = (item * grid.X + x) * grid.Y + y;
        filled[i] = line + 1;
        for_sites(i, [](float *to, const float *from) { eight(to) = eight(from); });
        const uint64_t *words = grid.words + line * grid.W;
        for (int64_t w = 0; w < grid.W; ++w) {
            const uint64_t before = w ? words[w - 1] : 0, here = words[w], after = w + 1 < grid.W ? words[w + 1] : 0;
            near[i * grid.W + w] = here << 1 | before >> 63 | here | here >> 1 | here >> 2 | after << 63 | after << 62;
        }
    }

    void clear(int64_t plane) {
        for (int64_t i = plane * HEIGHT; i < (plane + 1) * HEIGHT; ++i) {
            if (filled[i] > 0) {
                for_sites(i, [](float *to, const float *) { eight(to) = Eight{}; });
                std::fill_n(near.begin() + i * grid.W, grid.W, 0);
            }
            filled[i] = 0;
        }
    }

    // Calls each(its cell, its features) for every site of the line laid out at i.
    template <class Each>
    void for_sites(int64_t i, const Each &each) {
        const int64_t first = (filled[i] - 1) * grid.W;
        for (int64_t w = 0; w < grid.W; ++w) {
            const Span span = {grid.words[first + w], grid.starts[first + w]};
            for_runs(span.bits, span, Span{~0ull, 64 * w + 1}, [&](int64_t row, int64_t cell, int64_t sites) {
                float *to = cells.data() + i * stride + cell * EIGHT;
                const float *from = features + row * EIGHT;
                for (; sites--; to += EIGHT, from += EIGHT) each(to, from);
            });
        }
    }
};
