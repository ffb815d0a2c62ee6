// Products of rows of features with the weights of a tap: the arithmetic of all convolutions.

#pragma once

#include "kernel_map.h"
#include "vectors.h"

// Sums are kept in registers for ROWS rows by V vectors of output channels: enough to hide the latency of a multiply-add, and few
// enough that a load feeds more than one of them.
constexpr int REGISTERS = LANES == 16 ? 24 : 12;

template <int V>
constexpr int ROWS = V == 1 ? REGISTERS * 2 / 3 : REGISTERS / V;

constexpr int64_t PANEL = 3 * LANES;  // output channels worked on at a time, at most

// Of the next panel, when so many output channels are left; both are multiples of LEAST. A panel has vectors of one width.
static inline int64_t panel_width(int64_t left) {
    if (left % LANES && left <= 3 * LEAST) return left;
    const int64_t whole = left / LANES * LANES;
    return whole == 3 * LANES ? whole : std::min<int64_t>(whole, 2 * LANES);
}

// sums[place] += in[row] @ panel for all pairs; in [., C_in], panel [C_in, V vectors of N lanes], sums [., stride]. Every sum is formed in
// the order of the input's channels, whatever its neighbours in the list.
template <int N, int V>
static void multiply(const Pair *pairs, int64_t size, const float *in, int64_t C_in, const float *panel, float *sums, int64_t stride) {
    typedef typename Of<N>::Vector Vector;
    constexpr int R = ROWS<V>;
    for (int64_t i = 0; i < size; i += R) {
        const float *row[R];
        float *place[R];
        Vector sum[R][V];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            row[r] = in + pairs[i + r].row * C_in;
            __builtin_prefetch(in + pairs[i + r + 2 * R].row * C_in);  // beyond the list: some row or other
            place[r] = sums + pairs[i + r].place * stride;
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) sum[r][v] = load<N>(place[r] + v * N);
        }
#pragma GCC unroll 4
        for (int64_t c = 0; c < C_in; ++c) {
            Vector weight[V];
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) weight[v] = load<N>(panel + (c * V + v) * N);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const Vector value = all<N>(row[r][c]);
#pragma GCC unroll 3
                for (int v = 0; v < V; ++v) sum[r][v] += value * weight[v];
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) store<N>(place[r] + v * N, sum[r][v]);
        }
    }
}

// With a panel of this width; the list is padded with pairs at a spare place.
static inline void multiply(int64_t width, Pairs &pairs, int64_t spare, const float *in, int64_t C_in, const float *panel, float *sums,
                            int64_t stride) {
    const bool whole = width % LANES == 0;
    const auto one = whole ? multiply<LANES, 1> : multiply<LEAST, 1>, three = whole ? multiply<LANES, 3> : multiply<LEAST, 3>;
    switch (width / (whole ? LANES : LEAST)) {
        case 1: return one(pairs.data(), pairs.padded(ROWS<1>, spare), in, C_in, panel, sums, stride);
        case 2: return multiply<LANES, 2>(pairs.data(), pairs.padded(ROWS<2>, spare), in, C_in, panel, sums, stride);
        case 3: return three(pairs.data(), pairs.padded(ROWS<3>, spare), in, C_in, panel, sums, stride);
    }
}

// The columns of weight [C_in, C_out] from `first` on as a panel [C_in, width], zero past C_out: in `room`, unless they lie like that.
static inline const float *panel_of(const float *weight, int64_t C_in, int64_t C_out, int64_t first, int64_t width, float *room) {
    if (width == C_out) return weight;
    const int64_t columns = std::min(width, C_out - first);
    for (int64_t c = 0; c < C_in; ++c) {
        std::copy_n(weight + c * C_out + first, columns, room + c * width);
        std::fill(room + c * width + columns, room + (c + 1) * width, 0.f);
    }
    return room;
}

// totals[c] += Σ in[row][c] · gradients[place] over all pairs, for C channels c; in [., C_in], gradients [., stride], totals [C, stride].
template <int C, int N, int V>
static void add_outer(const Pair *pairs, int64_t size, const float *in, int64_t C_in, const float *gradients, int64_t stride,
                      float *totals) {
    typedef typename Of<N>::Vector Vector;
    Vector sum[C][V] = {};
    for (int64_t i = 0; i < size; ++i) {
        const float *row = in + pairs[i].row * C_in, *at = gradients + pairs[i].place * stride;
        Vector gradient[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) gradient[v] = load<N>(at + v * N);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const Vector value = all<N>(row[c]);
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) sum[c][v] += value * gradient[v];
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) store<N>(totals + c * stride + v * N, load<N>(totals + c * stride + v * N) + sum[c][v]);
    }
}

// Input channels whose products are summed in registers at a time, at most.
template <int V>
constexpr int BLOCK = V == 1 ? 8 : 6;

// add_outer by the number of channels.
template <int N, int V>
constexpr decltype(&add_outer<1, N, V>) outer_products[] = {
    nullptr,            add_outer<1, N, V>, add_outer<2, N, V>, add_outer<3, N, V>, add_outer<4, N, V>,
    add_outer<5, N, V>, add_outer<6, N, V>, add_outer<7, N, V>, add_outer<8, N, V>,
};
