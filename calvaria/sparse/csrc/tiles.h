// Sites in tiles, each as many as a core works on at a time with all that belongs to them in its nearest caches.

#pragma once

#include "grid.h"
#include "parallel.h"

#include <vector>

// A word of a tile that has sites.
struct Place {
    int64_t word, line, x, y, z;  // x, y, z: of its first cell
    Span span;
};

struct Tile {
    int64_t first_word, last_word;
    int64_t first_row, rows;
    std::vector<Place> places;
};

constexpr int64_t TILE_ROWS = 512;             // a tile ends with the word that reaches as many,
constexpr int64_t MOST_ROWS = TILE_ROWS + 63;  // so that none has more than this
constexpr int64_t PART_ROWS = 4096;            // what a thread takes at a time, at most

// The tile of the words from `first` on, up to `last` or until it has enough rows.
static inline Tile tile_of(const Grid &grid, int64_t first, int64_t last, int64_t enough = INT32_MAX) {
    Tile tile{first, first, grid.starts[first], 0, {}};
    int64_t line = first / grid.W, w = first % grid.W;
    for (int64_t word = first; word < last && tile.rows < enough; tile.last_word = ++word) {
        if (grid.words[word]) {
            tile.places.push_back({word, line, line / grid.Y % grid.X, line % grid.Y, 64 * w, {grid.words[word], grid.starts[word]}});
            tile.rows = grid.starts[word + 1] - tile.first_row;
        }
        if (++w == grid.W) w = 0, ++line;
    }
    return tile;
}

// Calls body(tile) for the tiles of the words from first to last.
template <class Body>
static inline void for_tiles(const Grid &grid, int64_t first, int64_t last, const Body &body) {
    while (first < last) {
        const Tile tile = tile_of(grid, first, last, TILE_ROWS);
        body(tile);
        first = tile.last_word;
    }
}

// Where part i of n begins, when each is to have about as many sites; part n begins at the end.
static inline int64_t part_begin(const Grid &grid, int64_t i, int64_t n) {
    if (i == 0 || i == n) return i ? grid.size : 0;
    return std::lower_bound(grid.starts, grid.starts + grid.size, int32_t(grid.sites() * i / n)) - grid.starts;
}

// Calls body(tile, slice, workspace) for all tiles of the grid and all slices of the work on each, in the threads there are; a workspace
// is used by one thread at a time. Every word belongs to a tile, also when it has no sites.
template <class Workspace, class Body>
static inline void parallel_tiles(const Grid &grid, int64_t slices, const Body &body) {
    const int64_t even = grid.sites() * slices / (8 * omp_get_max_threads());
    const int64_t parts = grid.sites() / std::clamp(even, TILE_ROWS, PART_ROWS) + 1;
    parallel_blocks(parts * slices, 1, [&](int64_t item, int64_t) {
        const int64_t part = item / slices, slice = item % slices;
        Workspace workspace;
        const auto each = [&](const Tile &tile) { body(tile, slice, workspace); };
        for_tiles(grid, part_begin(grid, part, parts), part_begin(grid, part + 1, parts), each);
    });
}

// Calls body(tile) for all tiles of the grid.
template <class Body>
static inline void parallel_tiles(const Grid &grid, const Body &body) {
    struct Nothing {};
    parallel_tiles<Nothing>(grid, 1, [&](const Tile &tile, int64_t, Nothing &) { body(tile); });
}
