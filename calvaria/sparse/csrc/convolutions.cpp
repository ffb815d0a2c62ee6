// 3×3×3 convolutions on the same sites, and those between a grid and the one at twice its stride.

#include "gradients.h"
#include "interface.h"

namespace {

Grid grid(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W) {
    return {words, starts, X, Y, W, B * X * Y * W};
}

Grid halved(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W) {
    return grid(words, starts, B, (X + 1) / 2, (Y + 1) / 2, (W + 1) / 2);
}

}  // namespace

void convolve(const float *features, const float *weight, const float *bias, const uint64_t *words, const int32_t *starts, int64_t B,
              int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out) {
    const Grid sites = grid(words, starts, B, X, Y, W);
    convolve_all(SameSites{sites, sites}, features, {weight, C_in, C_out}, bias, out);
}

void convolve_weight_gradient(const float *features, const float *gradient, const uint64_t *words, const int32_t *starts, int64_t B,
                              int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out) {
    const Grid sites = grid(words, starts, B, X, Y, W);
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
