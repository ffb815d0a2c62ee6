// Gradients of a convolution's weights over any kernel map: for every tap, the sum of the outer products of input rows and gradients.

#pragma once

#include "convolve.h"

constexpr int64_t WIDE = 64 * 64;  // weights of a tap from where on threads share out taps and channels rather than sites

struct Range {
    int64_t begin, end;

    int64_t size() const { return end - begin; }
};

// Sums for some groups of taps and some input channels, [groups, taps of a group, channels, stride].
template <class Map>
class Totals {
  public:
    Totals(const Map &map, Range groups, Range channels, int64_t C_out)
        : map(map), groups(groups), channels(channels), stride(round_up(C_out, LEAST)), of_tap(channels.size() * stride),
          values(groups.size() * map.taps * of_tap) {}

    // The products of the sites of these words; in [., C_in], gradients [., C_out] by rows of the output.
    void add(int64_t first_word, int64_t last_word, const float *in, int64_t C_in, const float *gradients, int64_t C_out) {
        Workspace workspace;
        for_tiles(map.outputs, first_word, last_word, [&](const Tile &tile) {
            workspace.sums.assign(tile.rows * stride, 0.f);
            for (int64_t i = 0; i < tile.rows; ++i)
                std::copy_n(gradients + (tile.first_row + i) * C_out, C_out, &workspace.sums[i * stride]);
            for (int64_t group = groups.begin; group < groups.end; ++group) {
                for (int i = 0; i < map.taps; ++i) workspace.pairs[i].clear();
                map.collect(tile, int(group), workspace.pairs);
                for (int i = 0; i < map.taps; ++i) add_tap(workspace.pairs[i], in, C_in, workspace.sums.data(), tap(group, i));
            }
        });
    }

    void operator+=(const Totals &other) {
        for (size_t i = 0; i < values.size(); ++i) values[i] += other.values[i];
    }

    // weights [taps of all groups, C_in, C_out]
    void write(float *weights, int64_t C_in, int64_t C_out) {
        for (int64_t group = groups.begin; group < groups.end; ++group)
            for (int i = 0; i < map.taps; ++i)
                for (int64_t c = 0; c < channels.size(); ++c)
                    std::copy_n(tap(group, i) + c * stride, C_out, weights + (map.tap(int(group), i) * C_in + channels.begin + c) * C_out);
    }

  private:
    const Map &map;
    Range groups, channels;
    int64_t stride, of_tap;
    std::vector<float> values;

    float *tap(int64_t group, int i) { return values.data() + ((group - groups.begin) * map.taps + i) * of_tap; }

    // As many pairs at a time as stay in the nearest cache from one block of channels to the next.
    void add_tap(const Pairs &pairs, const float *in, int64_t C_in, const float *gradients, float *totals) {
        constexpr int64_t AT_ONCE = 64;
        for (int64_t i = 0; i < pairs.size(); i += AT_ONCE) {
            const int64_t size = std::min(AT_ONCE, pairs.size() - i);
            int64_t c = 0;
            for (; c + 2 * LANES <= stride; c += 2 * LANES)
                add_columns<LANES, 2>(pairs.data() + i, size, in, C_in, gradients + c, totals + c);
            for_vectors(stride - c, [&](int64_t more, auto lanes) {
                add_columns<lanes, 1>(pairs.data() + i, size, in, C_in, gradients + c + more, totals + c + more);
            });
        }
    }

    // Of V vectors of N output channels, for blocks of about the same number of input channels.
    template <int N, int V>
    void add_columns(const Pair *pairs, int64_t size, const float *in, int64_t C_in, const float *gradients, float *totals) {
        const int64_t blocks = (channels.size() + BLOCK<V> - 1) / BLOCK<V>;
        for (int64_t block = 0; block < blocks; ++block) {
            const int64_t begin = channels.size() * block / blocks, end = channels.size() * (block + 1) / blocks;
            const auto add = outer_products<N, V>[end - begin];
            add(pairs, size, in + channels.begin + begin, C_in, gradients, stride, totals + begin * stride);
        }
    }
};

// out [taps, C_in, C_out]. The order of the sums depends on the number of threads only.
template <class Map>
static void weight_gradient(const Map &map, const float *in, int64_t C_in, const float *gradients, int64_t C_out, float *out) {
    const Grid &grid = map.outputs;
    if (C_in * C_out < WIDE) {
        const int64_t parts = std::clamp<int64_t>(grid.sites() / (2 * TILE_ROWS), 1, omp_get_max_threads());
        std::vector<Totals<Map>> totals(parts, Totals<Map>(map, {0, map.groups}, {0, C_in}, C_out));
        parallel_blocks(parts, 1, [&](int64_t part, int64_t) {
            totals[part].add(part_begin(grid, part, parts), part_begin(grid, part + 1, parts), in, C_in, gradients, C_out);
        });
        for (int64_t part = 1; part < parts; ++part) totals[0] += totals[part];
        totals[0].write(out, C_in, C_out);
    } else {
        const int64_t slices = (C_in + SLICE - 1) / SLICE;
        parallel_blocks(map.groups * slices, 1, [&](int64_t item, int64_t) {
            const int64_t group = item / slices, slice = item % slices;
            Totals<Map> totals(map, {group, group + 1}, {slice * SLICE, std::min(C_in, (slice + 1) * SLICE)}, C_out);
            totals.add(0, grid.size, in, C_in, gradients, C_out);
            totals.write(out, C_in, C_out);
        });
    }
}
