// 3×3×3 convolutions on the same sites, and those between a grid and the one at twice its stride.

#include "gradients.h"
#include "interface.h"
#include "strips.h"
#include "windows.h"

namespace {

Grid grid(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W) {
    return {words, starts, X, Y, W, B * X * Y * W};
}

Grid halved(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W) {
    return grid(words, starts, B, (X + 1) / 2, (Y + 1) / 2, (W + 1) / 2);
}

void convolve_eight(const Grid &sites, const float *features, const float *weight, const float *bias, float *out) {
    float packed[27 * EIGHT * EIGHT];
    pack_windows(weight, packed);
    parallel_strips(sites, features, sites, [&](const Tile &tile, DenseLines &dense, int64_t) {
        for (const Group &group : groups_of(sites, tile, dense))
            convolve_group(group, dense, packed, reinterpret_cast<const Eight *>(bias), out + tile.first_row * EIGHT);
    });
}

// The totals of the strips are added in their order, so that they do not depend on the threads.
void weight_gradient_eight(const Grid &sites, const float *features, const float *gradient, float *out) {
    constexpr int64_t SIZE = 27 * EIGHT * EIGHT;
    std::vector<float> totals(Strips(sites).size() * SIZE);
    parallel_strips(sites, gradient, sites, [&](const Tile &tile, DenseLines &dense, int64_t strip) {
        add_outer_products(groups_of(sites, tile, dense), dense, features + tile.first_row * EIGHT, &totals[strip * SIZE]);
    });
    std::fill_n(out, SIZE, 0.f);
    for (size_t i = 0; i < totals.size(); ++i) out[i % SIZE] += totals[i];
}

}  // namespace

void convolve(const float *features, const float *weight, const float *bias, const uint64_t *words, const int32_t *starts, int64_t B,
              int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out) {
    const Grid sites = grid(words, starts, B, X, Y, W);
    if (C_in == EIGHT && C_out == EIGHT) return convolve_eight(sites, features, weight, bias, out);
    convolve_all(SameSites{sites, sites}, features, {weight, C_in, C_out}, bias, out);
}

void convolve_weight_gradient(const float *features, const float *gradient, const uint64_t *words, const int32_t *starts, int64_t B,
                              int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out) {
    const Grid sites = grid(words, starts, B, X, Y, W);
    if (C_in == EIGHT && C_out == EIGHT) return weight_gradient_eight(sites, features, gradient, out);
    weight_gradient(SameSites{sites, sites}, features, C_in, gradient, C_out, out);
}

void downsample(const float *features, const float *weight, const float *bias, const uint64_t *fine_words, const int32_t *fine_starts,
                const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t kernel,
                int64_t C_in, int64_t C_out, float *out) {
    const Grid fine = grid(fine_words, fine_starts, B, X, Y, W), coarse = halved(coarse_words, coarse_starts, B, X, Y, W);
    convolve_all(FineToCoarse{fine, coarse, int(kernel)}, features, {weight, C_in, C_out}, bias, out);
}

void generate(const float *features, const float *weight, const float *bias, const uint64_t *fine_words, const int32_t *fine_starts,
              const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t kernel,
              int64_t C_in, int64_t C_out, float *out) {
    const Grid fine = grid(fine_words, fine_starts, B, X, Y, W), coarse = halved(coarse_words, coarse_starts, B, X, Y, W);
    convolve_all(CoarseToFine{coarse, fine, int(kernel)}, features, {weight, C_in, C_out}, bias, out);
}

void stride_weight_gradient(const float *fine_features, const float *coarse_features, const uint64_t *fine_words,
                            const int32_t *fine_starts, const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B, int64_t X,
                            int64_t Y, int64_t W, int64_t kernel, int64_t C_fine, int64_t C_coarse, float *out) {
    const Grid fine = grid(fine_words, fine_starts, B, X, Y, W), coarse = halved(coarse_words, coarse_starts, B, X, Y, W);
    weight_gradient(FineToCoarse{fine, coarse, int(kernel)}, fine_features, C_fine, coarse_features, C_coarse, out);
}
