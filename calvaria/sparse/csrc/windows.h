// 3×3×3 convolution of eight channels to eight, the heaviest layer of all: a stride's largest sets have the fewest channels.
//
// With so few channels, fetching a neighbour costs as much as multiplying it. So the lines around a block of sites are laid out densely,
// zeros where there is no site, and what is fetched of a cell serves the three taps along z. Surfaces are thick enough that few zeros
// are multiplied: about a tenth of the cells under the taps of a skull's sites are empty.

#pragma once

#include "dense_lines.h"

// Two neighbouring cells along z, of which the first is a site of this row of a tile, and the second may be the next one.
struct Couple {
    const float *window;  // of the first cell
    int32_t row;
    bool both;
};

// Couples worked on together: their ten sums in registers are enough to hide the latency of a multiply-add.
constexpr int COUPLES = 5;

struct Group {
    Couple couples[COUPLES];
    int size, lines;  // lines: which of the nine around them have a site beneath their taps, as a bit each
};

// Those sites of a tile that are sites of the grid; the tile is of the middle plane of `dense`, which gets all they need.
static std::vector<Group> groups_of(const Grid &grid, const Tile &tile, DenseLines &dense) {
    std::vector<Group> groups;
    groups.reserve(tile.rows / COUPLES + 1);
    for (const Place &place : tile.places) {
        uint64_t left = grid.words[place.word];
        if (left) dense.fill_around(place.y);
        while (left) {
            if (groups.empty() || groups.back().size == COUPLES) groups.push_back({{}, 0, 0});
            Group &group = groups.back();
            uint64_t begun = 0;
            for (; left && group.size < COUPLES; ++group.size) {
                const int cell = lowest(left);
                const int32_t row = int32_t(place.span.row_at(cell) - tile.first_row);
                group.couples[group.size] = {dense.window(place.y, place.z + cell), row, (left >> cell & 3) == 3};
                begun |= 1ull << cell;
                left &= ~(3ull << cell);
            }
            group.lines |= dense.occupied(place.y, place.z / 64, begun);
        }
    }
    if (!groups.empty()) std::fill(groups.back().couples + groups.back().size, std::end(groups.back().couples), groups.back().couples[0]);
    return groups;
}

// weight [27, 8, 8] -> [9 lines, 8 channels, 3 along z, 8]
static inline void pack_windows(const float *weight, float *packed) {
    for (int64_t line = 0; line < 9; ++line)
        for (int64_t c = 0; c < EIGHT; ++c)
            for (int64_t dz = 0; dz < 3; ++dz, packed += EIGHT) eight(packed) = eight(weight + ((9 * dz + line) * EIGHT + c) * EIGHT);
}

// rows [., 8]. Every sum is formed in the order of lines, channels and taps along z, whatever its neighbours in the group.
static void convolve_group(const Group &group, const DenseLines &dense, const float *weights, const Eight *bias, float *rows) {
    Eight sum[COUPLES][2] = {};
    for (int lines = group.lines; lines; lines &= lines - 1) {
        const int line = __builtin_ctz(lines);
        const float *weight = weights + line * 3 * EIGHT * EIGHT;
        const float *window[COUPLES];
#pragma GCC unroll 5
        for (int i = 0; i < COUPLES; ++i) window[i] = group.couples[i].window + dense.offset(line);
#pragma GCC unroll 8
        for (int c = 0; c < EIGHT; ++c, weight += 3 * EIGHT) {
            const Eight along_z[3] = {eight(weight), eight(weight + EIGHT), eight(weight + 2 * EIGHT)};
#pragma GCC unroll 4
            for (int cell = 0; cell < 4; ++cell) {
#pragma GCC unroll 5
                for (int i = 0; i < COUPLES; ++i) {
                    const Eight value = window[i][cell * EIGHT + c] - Eight{};
                    if (cell < 3) sum[i][0] += value * along_z[cell];
                    if (cell > 0) sum[i][1] += value * along_z[cell - 1];
                }
            }
        }
    }
#pragma GCC unroll 5
    for (int i = 0; i < COUPLES; ++i) {
        float *row = rows + group.couples[i].row * EIGHT;
#pragma GCC unroll 2
        for (int cell = 0; bias && cell < 2; ++cell) {
            const Eight value = sum[i][cell] + *bias;
            sum[i][cell] = value < 0 ? Eight{} : value;
        }
        eight(row) = sum[i][0];
        if (group.couples[i].both) eight(row + EIGHT) = sum[i][1];
    }
}

// totals [27, 8, 8] += the outer products of the features [., 8] of the rows of n groups and the gradients, which are laid out in `dense`:
// what lies at an offset from a site is the gradient of the output that sees the site under the mirrored tap. The groups are few enough
// that all they need stays in the nearest cache from one line to the next.
static inline void add_outer_products(const Group *groups, int64_t n, const DenseLines &dense, const float *features, float *totals) {
    for (int line = 0; line < 9; ++line)
        for (int first = 0; first < EIGHT; first += 4) {  // input channels: the sums of four are in registers
            Eight sum[4][3] = {};
            for (const Group *group = groups; group < groups + n; ++group) {
                if (!(group->lines >> line & 1)) continue;
                const float *windows[COUPLES];
                for (int i = 0; i < COUPLES; ++i) windows[i] = group->couples[i].window + dense.offset(line);
                for (int i = 0; i < group->size; ++i) {
                    const float *cell = windows[i], *row = features + group->couples[i].row * EIGHT + first;
                    // One site after the other: both at once would take more registers than there are.
                    for (int site = 0; site < 1 + group->couples[i].both; ++site, cell += EIGHT, row += EIGHT) {
                        const Eight gradient[3] = {eight(cell), eight(cell + EIGHT), eight(cell + 2 * EIGHT)};
#pragma GCC unroll 4
                        for (int c = 0; c < 4; ++c) {
                            const Eight value = row[c] - Eight{};
#pragma GCC unroll 3
                            for (int dz = 0; dz < 3; ++dz) sum[c][dz] += value * gradient[dz];
                        }
                    }
                }
            }
            for (int c = 0; c < 4; ++c)
                for (int dz = 0; dz < 3; ++dz) eight(totals + ((26 - line - 9 * dz) * EIGHT + first + c) * EIGHT) += sum[c][dz];
        }
}

static inline void add_outer_products(const std::vector<Group> &groups, const DenseLines &dense, const float *features, float *totals) {
    constexpr size_t AT_ONCE = 32;
    for (size_t i = 0; i < groups.size(); i += AT_ONCE)
        add_outer_products(&groups[i], std::min(AT_ONCE, groups.size() - i), dense, features, totals);
}
