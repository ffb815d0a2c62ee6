// Kernel maps: which input row lies under a tap of each output row. They are made from the bits, tile by tile and a few taps at a
// time, and are never stored: what is read again and again is the bits, which are few.

#pragma once

#include "tiles.h"

// A row of the input, and the row of the output, counted from the tile's first, that it contributes to.
struct Pair {
    int32_t row, place;
};

// The pairs of one tap in a tile; each row of the output occurs at most once.
class Pairs {
  public:
    void clear() { length = 0; }
    int64_t size() const { return length; }
    const Pair *data() const { return list; }

    // Without a branch, which could not be predicted: an absent pair is overwritten by the next.
    void add(int64_t row, int64_t place, bool present) {
        list[length] = {int32_t(row), int32_t(place)};
        length += present;
    }

    // More pairs of no consequence, until their number is a multiple of n: a valid input row, and a place that nobody reads.
    int64_t padded(int64_t n, int64_t spare_place) {
        int64_t size = length;
        while (size % n) list[size++] = {list[0].row, int32_t(spare_place)};
        return size;
    }

  private:
    Pair list[MOST_ROWS + 64] = {};  // with room for padding, and for looking ahead
    int64_t length = 0;
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
            if (x < 0 || x >= inputs.X || y < 0 || y >= inputs.Y) continue;
            const Line line(inputs, place.line + dx * inputs.Y + dy);
            const uint64_t cells = inputs.words[place.word];
            const Span below = line.from(place.z - 1);
            const uint64_t in[3] = {below.bits & cells, line.from(place.z).bits & cells, line.from(place.z + 1).bits & cells};
            if (!(in[0] | in[1] | in[2])) continue;
            int64_t at = place.span.row - tile.first_row;
            for (uint64_t sites = place.span.bits; sites; sites &= sites - 1, ++at) {
                const int cell = lowest(sites);
                int64_t row = below.row_at(cell);
                pairs[0].add(row, at, in[0] >> cell & 1);
                row += below.bits >> cell & 1;
                pairs[1].add(row, at, in[1] >> cell & 1);
                row += in[1] >> cell & 1;
                pairs[2].add(row, at, in[2] >> cell & 1);
            }
        }
    }
};

// The line (x, y) of a grid in the same item as a place of the other.
static inline Line line_of(const Grid &grid, const Grid &other, const Place &place, int64_t x, int64_t y) {
    const int64_t item = place.line / (other.X * other.Y);
    return {grid, (item * grid.X + x) * grid.Y + y};
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
            const Line line = line_of(inputs, outputs, place, x, y);
            for (int i = 0; i < taps; i += 2) collect_children(line, tile, place, i, pairs);
        }
    }

  private:
    // Of the two taps i and i + 1 along z.
    void collect_children(const Line &line, const Tile &tile, const Place &place, int i, Pairs *pairs) const {
        const Span halves[2] = {line.from(2 * place.z + i), line.from(2 * place.z + 64 + i)};
        int64_t at = place.span.row - tile.first_row;
        for (uint64_t sites = place.span.bits; sites; sites &= sites - 1, ++at) {
            const int cell = lowest(sites);
            const Span &children = halves[cell / 32];
            const int first = 2 * (cell % 32);
            const int64_t row = children.row_at(first);
            const bool has_first = children.bits >> first & 1;
            pairs[i].add(row, at, has_first);
            pairs[i + 1].add(row + has_first, at, children.bits >> first >> 1 & 1);
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
            const Line line = line_of(inputs, outputs, place, x / 2, y / 2);
            for (int i = 0; i < taps; i += 2) {
                const Span parents = line.from(place.z / 2 - i / 2);
                int64_t at = place.span.row - tile.first_row;
                for (uint64_t sites = place.span.bits; sites; sites &= sites - 1, ++at) {
                    const int cell = lowest(sites), parent = cell / 2;
                    const int64_t row = parents.row_at(parent);
                    const bool present = parents.bits >> parent & 1, odd = cell % 2;
                    pairs[i].add(row, at, present && !odd);
                    pairs[i + 1].add(row, at, present && odd);
                }
            }
        }
    }
};
