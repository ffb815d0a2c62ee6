// Convolutions over any kernel map, output-stationary: the sums of a tile stay in the nearest cache until they are complete, and every
// sum is formed in the order of the taps and of the input's channels. So a site's result does not depend on what is computed beside it.

#pragma once

#include "products.h"

#include <vector>

constexpr int64_t SLICE = 64;  // output channels of a tile's sums, at most

// Output channels computed at a time: fewer where there are too few tiles to occupy the threads.
static inline int64_t slice_of(const Grid &grid, int64_t C_out) {
    const bool few = grid.sites() < 4 * omp_get_max_threads() * TILE_ROWS;
    return std::min(C_out, few ? 2 * LANES : SLICE);
}

struct Weights {
    const float *values;  // [taps, C_in, C_out]
    int64_t C_in, C_out;
};

// What a thread needs to work on a tile.
struct Workspace {
    Pairs pairs[MOST_TAPS];
    std::vector<float> sums, panel;
};

// Sums [tile.rows, stride] of a tile's output channels from `first` on, in `workspace.sums`; channels past the last are zero.
template <class Map>
static void convolve_tile(const Map &map, const Tile &tile, const float *in, const Weights &weights, int64_t first, int64_t stride,
                          Workspace &workspace) {
    workspace.sums.assign((tile.rows + 1) * stride, 0.f);  // one row to spare for the lists' padding
    workspace.panel.resize(weights.C_in * PANEL);
    for (int group = 0; group < map.groups; ++group) {
        for (int i = 0; i < map.taps; ++i) workspace.pairs[i].clear();
        map.collect(tile, group, workspace.pairs);
        for (int i = 0; i < map.taps; ++i) {
            Pairs &pairs = workspace.pairs[i];
            if (!pairs.size()) continue;
            const float *weight = weights.values + map.tap(group, i) * weights.C_in * weights.C_out;
            for (int64_t c = 0, width; c < stride; c += width) {
                width = panel_width(stride - c);
                const float *panel = panel_of(weight, weights.C_in, weights.C_out, first + c, width, workspace.panel.data());
                multiply(width, pairs, tile.rows, in, weights.C_in, panel, workspace.sums.data() + c, stride);
            }
        }
    }
}

// The values, and zeros up to n.
static inline std::vector<float> padded(const float *values, int64_t size, int64_t n) {
    std::vector<float> all(values, values + size);
    all.resize(n);
    return all;
}

// from [rows, stride] -> to [rows, C_out], some channels of it; with a bias relu(from + bias).
static void finish(const float *from, int64_t stride, int64_t rows, const float *bias, int64_t channels, float *to, int64_t C_out) {
    for (; rows--; from += stride, to += C_out)
        for_vectors(stride, [&](int64_t c, auto lanes) {
            const auto value = bias ? relu<lanes>(load<lanes>(from + c) + load<lanes>(bias + c)) : load<lanes>(from + c);
            store_first<lanes>(to + c, value, channels - c);
        });
}

// out [N, C_out], N the sites of map.outputs; with a bias [C_out], relu(… + bias).
template <class Map>
static void convolve_all(const Map &map, const float *in, const Weights &weights, const float *bias, float *out) {
    const int64_t C_out = weights.C_out, width = slice_of(map.outputs, C_out), slices = (C_out + width - 1) / width;
    const std::vector<float> padded_bias = bias ? padded(bias, C_out, C_out + LANES) : std::vector<float>();
    parallel_tiles<Workspace>(map.outputs, slices, [&](const Tile &tile, int64_t slice, Workspace &workspace) {
        const int64_t first = slice * width, channels = std::min(width, C_out - first), stride = round_up(channels, LEAST);
        convolve_tile(map, tile, in, weights, first, stride, workspace);
        finish(workspace.sums.data(), stride, tile.rows, bias ? &padded_bias[first] : nullptr, channels,
               out + tile.first_row * C_out + first, C_out);
    });
}
