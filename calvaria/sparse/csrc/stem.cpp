// The first layer: a 3×3×3 convolution of ones, which sees only which of its 27 neighbours a site has.

#include "interface.h"
#include "tiles.h"
#include "vectors.h"

namespace {

constexpr int PATTERNS = 512;  // of the nine neighbours in one plane x - 1, x or x + 1

// Bits of a pattern: 3 (dy + 1) + dz + 1.
int64_t tap(int plane, int bit) { return plane + 3 * (bit / 3) + 9 * (bit % 3); }

// Calls body(row, patterns of its three planes) for every site of a tile.
template <class Body>
void for_patterns(const Grid &grid, const Tile &tile, const Body &body) {
    for (const Place &place : tile.places) {
        int64_t row = place.span.row;
        for (int half = 0; half < 2; ++half) {
            uint64_t sites = place.span.bits >> 32 * half & 0xffffffff;
            if (!sites) continue;
            uint64_t around[3][3] = {};  // bit k of a line: its cell k - 1, counted from the first of this half
            for (int dx = 0; dx < 3; ++dx)
                for (int dy = 0; dy < 3; ++dy) {
                    const int64_t x = place.x + dx - 1, y = place.y + dy - 1;
                    if (x < 0 || x >= grid.X || y < 0 || y >= grid.Y) continue;
                    around[dx][dy] = Line(grid, place.line + (dx - 1) * grid.Y + dy - 1).from(place.z + 32 * half - 1).bits;
                }
            for (; sites; sites &= sites - 1, ++row) {
                const int cell = lowest(sites);
                int patterns[3];
                for (int dx = 0; dx < 3; ++dx)
                    patterns[dx] = int((around[dx][0] >> cell & 7) | (around[dx][1] >> cell & 7) << 3 | (around[dx][2] >> cell & 7) << 6);
                body(row, patterns);
            }
        }
    }
}

// [3, PATTERNS, stride]: the sums of the weights of every pattern's taps.
std::vector<float> tables(const float *weight, int64_t C_out, int64_t stride) {
    std::vector<float> sums(3 * PATTERNS * stride);
    for (int plane = 0; plane < 3; ++plane)
        for (int pattern = 1; pattern < PATTERNS; ++pattern) {
            const int top = 31 - __builtin_clz(pattern);
            const float *rest = &sums[(plane * PATTERNS + (pattern ^ 1 << top)) * stride], *added = weight + tap(plane, top) * C_out;
            float *sum = &sums[(plane * PATTERNS + pattern) * stride];
            for (int64_t c = 0; c < C_out; ++c) sum[c] = rest[c] + added[c];
        }
    return sums;
}

}  // namespace

void stem(const float *weight, const float *bias, const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W,
          int64_t C_out, float *out) {
    const Grid grid{words, starts, X, Y, W, B * X * Y * W};
    const int64_t stride = round_up(C_out, LEAST);
    std::vector<float> table = tables(weight, C_out, stride), added(stride);
    if (bias) {  // with the table of one plane, which adds to every site
        std::copy_n(bias, C_out, added.data());
        for (int64_t i = 0; i < PATTERNS * stride; ++i) table[i] += added[i % stride];
    }
    const float *planes[3] = {&table[0], &table[PATTERNS * stride], &table[2 * PATTERNS * stride]};
    const float least = bias ? 0.f : -__builtin_inff();
    parallel_tiles(grid, [&](const Tile &tile) {
        for_patterns(grid, tile, [&](int64_t row, const int *patterns) {
            const float *from[3];
            for (int i = 0; i < 3; ++i) from[i] = planes[i] + patterns[i] * stride;
            for_vectors(stride, [&](int64_t c, auto lanes) {
                const auto sum = load<lanes>(from[0] + c) + load<lanes>(from[1] + c) + load<lanes>(from[2] + c);
                store_first<lanes>(out + row * C_out + c, sum < least ? all<lanes>(least) : sum, C_out - c);
            });
        });
    });
}

void stem_weight_gradient(const float *gradient, const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W,
                          int64_t C_out, float *out) {
    const Grid grid{words, starts, X, Y, W, B * X * Y * W};
    const int64_t parts = std::clamp<int64_t>(grid.sites() / PART_ROWS, 1, omp_get_max_threads());
    std::vector<std::vector<double>> sums(parts);  // [3, PATTERNS, C_out]: the gradients of the sites with each pattern
    parallel_blocks(parts, 1, [&](int64_t part, int64_t) {
        sums[part].resize(3 * PATTERNS * C_out);
        for_tiles(grid, part_begin(grid, part, parts), part_begin(grid, part + 1, parts), [&](const Tile &tile) {
            for_patterns(grid, tile, [&](int64_t row, const int *patterns) {
                for (int plane = 0; plane < 3; ++plane) {
                    double *sum = &sums[part][(plane * PATTERNS + patterns[plane]) * C_out];
                    for (int64_t c = 0; c < C_out; ++c) sum[c] += gradient[row * C_out + c];
                }
            });
        });
    });
    std::vector<double> total(27 * C_out);
    for (const std::vector<double> &of_part : sums)
        for (int plane = 0; plane < 3; ++plane)
            for (int pattern = 1; pattern < PATTERNS; ++pattern)
                for (int left = pattern; left; left &= left - 1)
                    for (int64_t c = 0; c < C_out; ++c)
                        total[tap(plane, __builtin_ctz(left)) * C_out + c] += of_part[(plane * PATTERNS + pattern) * C_out + c];
    std::copy(total.begin(), total.end(), out);
}
