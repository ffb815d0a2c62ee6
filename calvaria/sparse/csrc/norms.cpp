// Batch normalisation over rows and ReLU: two passes over the features forward, two back.
//
// Sums are taken in blocks of rows, in single precision and about the block's first row, so that little cancels, and merged in double
// precision in the blocks' order: they do not depend on the number of threads.

#include "interface.h"
#include "parallel.h"
#include "vectors.h"

#include <cmath>
#include <vector>

namespace {

constexpr int64_t BLOCK_ROWS = 256;
constexpr int TOGETHER = 4;  // rows whose terms are added to a sum at a time: few additions have to wait for the one before

// body(c, lanes) for columns [c, c + lanes) of a row of any length; `lanes` is a constant.
template <class Body>
void for_columns(int64_t channels, const Body &body) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) body(c, std::integral_constant<int, LANES>());
    for (; c + LEAST <= channels; c += LEAST) body(c, std::integral_constant<int, LEAST>());
    for (; c + 4 <= channels; c += 4) body(c, std::integral_constant<int, 4>());
    for (; c < channels; ++c) body(c, std::integral_constant<int, 1>());
}

template <int N>
void add_to(float *sum, typename Of<N>::Vector value) {
    store<N>(sum, load<N>(sum) + value);
}

// [blocks, 2, channels]: of each block, the sums over its rows of one(begin, row, c, lanes) and two(the former, row, c, lanes).
template <class One, class Two>
std::vector<float> sums_of_blocks(int64_t rows, int64_t channels, const One &one, const Two &two) {
    std::vector<float> sums((rows + BLOCK_ROWS - 1) / BLOCK_ROWS * 2 * channels);
    parallel_blocks(rows, BLOCK_ROWS, [&](int64_t begin, int64_t end) {
        float *first = &sums[begin / BLOCK_ROWS * 2 * channels], *second = first + channels;
        int64_t row = begin;
        for (; row + TOGETHER <= end; row += TOGETHER)
            for_columns(channels, [&](int64_t c, auto lanes) {
                typename Of<lanes>::Vector ones[TOGETHER], twos[TOGETHER];
#pragma GCC unroll 4
                for (int i = 0; i < TOGETHER; ++i) {
                    ones[i] = one(begin, row + i, c, lanes);
                    twos[i] = two(ones[i], row + i, c, lanes);
                }
                add_to<lanes>(first + c, (ones[0] + ones[1]) + (ones[2] + ones[3]));
                add_to<lanes>(second + c, (twos[0] + twos[1]) + (twos[2] + twos[3]));
            });
        for (; row < end; ++row)
            for_columns(channels, [&](int64_t c, auto lanes) {
                const auto value = one(begin, row, c, lanes);
                add_to<lanes>(first + c, value);
                add_to<lanes>(second + c, two(value, row, c, lanes));
            });
    });
    return sums;
}

// out [rows, channels] = value(row, c, lanes).
template <class Value>
void write_rows(int64_t rows, int64_t channels, float *out, const Value &value) {
    parallel_blocks(rows, BLOCK_ROWS, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            for_columns(channels, [&](int64_t c, auto lanes) { store<lanes>(out + row * channels + c, value(row, c, lanes)); });
    });
}

}  // namespace

void normalise(const float *features, const float *weight, const float *bias, float *running_mean, float *running_var, float momentum,
               float eps, int64_t rows, int64_t channels, float *out, float *mean, float *scale) {
    const auto apart = [=](int64_t begin, int64_t row, int64_t c, auto lanes) {
        return load<lanes>(features + row * channels + c) - load<lanes>(features + begin * channels + c);
    };
    const auto squared = [](auto value, int64_t, int64_t, auto) { return value * value; };
    const std::vector<float> sums = sums_of_blocks(rows, channels, apart, squared);
    std::vector<double> middle(channels), spread(channels);  // of the rows so far: their mean, and the sum of their squared deviations
    for (int64_t begin = 0; begin < rows; begin += BLOCK_ROWS) {
        const double size = double(std::min(begin + BLOCK_ROWS, rows) - begin), part = size / (double(begin) + size);
        const float *sum = &sums[begin / BLOCK_ROWS * 2 * channels], *squares = sum + channels;
        for (int64_t c = 0; c < channels; ++c) {
            const double ahead = features[begin * channels + c] + sum[c] / size - middle[c];
            spread[c] += squares[c] - sum[c] * (sum[c] / size) + ahead * ahead * (double(begin) * part);
            middle[c] += ahead * part;
        }
    }
    std::vector<float> times(channels);
    for (int64_t c = 0; c < channels; ++c) {
        mean[c] = float(middle[c]);
        scale[c] = float(1 / std::sqrt(spread[c] / double(rows) + eps));
        times[c] = scale[c] * weight[c];
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * (float(spread[c] / double(rows - 1)) - running_var[c]);
    }
    write_rows(rows, channels, out, [=, times = times.data()](int64_t row, int64_t c, auto lanes) {
        const auto centred = load<lanes>(features + row * channels + c) - load<lanes>(mean + c);
        return relu<lanes>(centred * load<lanes>(times + c) + load<lanes>(bias + c));
    });
}

void normalise_gradient(const float *gradient, const float *features, const float *out, const float *weight, const float *mean,
                        const float *scale, int64_t rows, int64_t channels, float *for_features, float *for_weight, float *for_bias) {
    const auto passed = [=](int64_t, int64_t row, int64_t c, auto lanes) {  // what the ReLU let through
        const int64_t at = row * channels + c;
        return load<lanes>(out + at) <= 0 ? typename Of<lanes>::Vector{} : load<lanes>(gradient + at);
    };
    const auto normal = [=](int64_t row, int64_t c, auto lanes) {  // the normalised features
        return (load<lanes>(features + row * channels + c) - load<lanes>(mean + c)) * load<lanes>(scale + c);
    };
    const auto along = [=](auto value, int64_t row, int64_t c, auto lanes) { return value * normal(row, c, lanes); };
    const std::vector<float> sums = sums_of_blocks(rows, channels, passed, along);
    std::vector<double> total(2 * channels);
    for (size_t first = 0; first < sums.size(); first += total.size())
        for (size_t i = 0; i < total.size(); ++i) total[i] += sums[first + i];
    std::copy_n(total.begin(), channels, for_bias);
    std::copy_n(total.begin() + channels, channels, for_weight);
    std::vector<float> times(channels);
    for (int64_t c = 0; c < channels; ++c) times[c] = scale[c] * weight[c];
    const float share = 1 / float(rows);
    write_rows(rows, channels, for_features, [=, times = times.data()](int64_t row, int64_t c, auto lanes) {
        const auto even = load<lanes>(for_bias + c) * share, tilt = load<lanes>(for_weight + c) * share;
        return (passed(0, row, c, lanes) - even - normal(row, c, lanes) * tilt) * load<lanes>(times + c);
    });
}
