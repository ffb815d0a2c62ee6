// Everything the library offers, as plain C; calvaria/sparse/native/interface.py repeats it for Python, in the same order.
//
// Conventions. Arrays are contiguous, sizes are int64. The caller allocates what is written. No function throws (where memory runs out, the
// process ends), keeps a pointer or holds a lock; each works in the OpenMP threads of the calling thread. B, X, Y, Z are cells,
// W = ceil(Z / 64) words a line.
//
// Bits of a grid [B, X, Y, Z] are words [B, X, Y, W]: bit k of word w of a line is the cell z = 64 w + k; bits past Z are zero.
// A site is a set bit. Sites stand in raster order, z fastest; starts[i] is the number of sites before word i, and
// starts[B X Y W] the number of all. A site's row is starts[its word] + popcount(its word's bits below it).

#pragma once

#include <cstdint>

#define CALVARIA_API extern "C" __attribute__((visibility("default")))

// The library itself.

CALVARIA_API const char *calvaria_sources();  // fingerprint of the files here as they were compiled
CALVARIA_API const char *calvaria_simd();     // best instruction set of this processor: baseline, avx2 or avx512
CALVARIA_API int64_t calvaria_threads();      // threads a large call gets now

// Ask for huge pages for memory that is about to be written for the first time, where the system has them.
CALVARIA_API void huge_pages(void *memory, int64_t bytes);

// Bits of a grid.

// mask [x, y, z], one byte a cell, strides in bytes, the last or the first of them 1 -> words [X, Y, W] as far as the mask goes.
CALVARIA_API void pack(const uint8_t *mask, int64_t x, int64_t y, int64_t z, int64_t stride_x, int64_t stride_y, int64_t stride_z,
                       uint64_t *words, int64_t Y, int64_t W);

// words [x, y, W], strides in words, the last of them 1 -> mask [x, y, depth], zero before, depth <= 64 W
CALVARIA_API void unpack(const uint64_t *words, int64_t x, int64_t y, int64_t stride_x, int64_t stride_y, int64_t depth, uint8_t *mask);

// words [n] -> starts [n + 1]; returns starts[n]
CALVARIA_API int64_t index_words(const uint64_t *words, int64_t n, int32_t *starts);

// coordinates [N, 4]: (b, x, y, z)
CALVARIA_API void coordinates(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W,
                              int32_t *coordinates);

// coordinates [N, 4], any order, doubles allowed -> words [B, X, Y, W], zero before; returns how many lie outside the grid
CALVARIA_API int64_t mark(const int32_t *coordinates, int64_t N, int64_t B, int64_t X, int64_t Y, int64_t Z, uint64_t *words);

// fine [B, X, Y, W] -> coarse [B, ceil(X/2), ceil(Y/2), ceil(W/2)]
CALVARIA_API void parents(const uint64_t *fine, int64_t B, int64_t X, int64_t Y, int64_t W, uint64_t *coarse);

// coarse [B, ceil(X/2), ceil(Y/2), ceil(W/2)] -> fine [B, X, Y, W]: cells 2u … 2u + kernel - 1, kernel 2 or 4, clipped to limits [B, 3]
CALVARIA_API void children(const uint64_t *coarse, const int64_t *limits, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t kernel,
                           uint64_t *fine);

// words [n], starts [n + 1], keep [N], one byte a site -> chosen [n]
CALVARIA_API void select_sites(const uint64_t *words, const int32_t *starts, int64_t n, const uint8_t *keep, uint64_t *chosen);

// rows [wanted_starts[n]]: the row in words of each wanted site, starts[n] where words lacks it
CALVARIA_API void rows(const uint64_t *words, const int32_t *starts, const uint64_t *wanted, const int32_t *wanted_starts, int64_t n,
                       int32_t *rows);

// words [x, y, W], strides in words, the last of them 1, starts with the same strides, values [N] -> field [x, y, depth]: each site's value,
// `absent` elsewhere; the field is zero before
CALVARIA_API void spread_values(const uint64_t *words, const int32_t *starts, int64_t x, int64_t y, int64_t stride_x, int64_t stride_y,
                                int64_t depth, const float *values, float absent, float *field);

// Features [N, C] in the order of the sites, weights [taps, C_in, C_out] with x fastest among the taps. Where there is a bias [C_out],
// not null, the result is relu(… + bias). Between strides, B, X, Y, W are those of the finer grid and the coarser one is half of each.

// 3×3×3 convolution of ones; weight [27, C_out] -> out [N, C_out]
CALVARIA_API void stem(const float *weight, const float *bias, const uint64_t *words, const int32_t *starts, int64_t B, int64_t X,
                       int64_t Y, int64_t W, int64_t C_out, float *out);

// gradient [N, C_out] -> out [27, C_out]
CALVARIA_API void stem_weight_gradient(const float *gradient, const uint64_t *words, const int32_t *starts, int64_t B, int64_t X,
                                       int64_t Y, int64_t W, int64_t C_out, float *out);

// 3×3×3 convolution on the same sites; features [N, C_in], weight [27, C_in, C_out] -> out [N, C_out]
CALVARIA_API void convolve(const float *features, const float *weight, const float *bias, const uint64_t *words, const int32_t *starts,
                           int64_t B, int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out);

// features [N, C_in], gradient [N, C_out] -> out [27, C_in, C_out]
CALVARIA_API void convolve_weight_gradient(const float *features, const float *gradient, const uint64_t *words, const int32_t *starts,
                                           int64_t B, int64_t X, int64_t Y, int64_t W, int64_t C_in, int64_t C_out, float *out);

// fine features [N, C_in], weight [kernel^3, C_in, C_out] -> out [M, C_out] on the coarse sites
CALVARIA_API void downsample(const float *features, const float *weight, const float *bias, const uint64_t *fine_words,
                             const int32_t *fine_starts, const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B, int64_t X,
                             int64_t Y, int64_t W, int64_t kernel, int64_t C_in, int64_t C_out, float *out);

// coarse features [M, C_in], weight [kernel^3, C_in, C_out] -> out [N, C_out] on the fine sites
CALVARIA_API void generate(const float *features, const float *weight, const float *bias, const uint64_t *fine_words,
                           const int32_t *fine_starts, const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B, int64_t X,
                           int64_t Y, int64_t W, int64_t kernel, int64_t C_in, int64_t C_out, float *out);

// fine features [N, C_fine], coarse features [M, C_coarse] -> out [kernel^3, C_fine, C_coarse]
CALVARIA_API void stride_weight_gradient(const float *fine_features, const float *coarse_features, const uint64_t *fine_words,
                                         const int32_t *fine_starts, const uint64_t *coarse_words, const int32_t *coarse_starts, int64_t B,
                                         int64_t X, int64_t Y, int64_t W, int64_t kernel, int64_t C_fine, int64_t C_coarse, float *out);

// features [source sites, channels] -> out [target sites, channels], zero where the source has no site; size words each
CALVARIA_API void transfer(const float *features, const uint64_t *source_words, const int32_t *source_starts, const uint64_t *target_words,
                           const int32_t *target_starts, int64_t size, int64_t channels, float *out);

// relu((features [rows, channels] - mean) * scale * weight + bias) -> out, with mean and scale = 1 / sqrt(variance + eps) of the rows, two
// or more; the running statistics move towards mean and unbiased variance.
CALVARIA_API void normalise(const float *features, const float *weight, const float *bias, float *running_mean, float *running_var,
                            float momentum, float eps, int64_t rows, int64_t channels, float *out, float *mean, float *scale);

// Its gradients, from that of its `out`.
CALVARIA_API void normalise_gradient(const float *gradient, const float *features, const float *out, const float *weight, const float *mean,
                                     const float *scale, int64_t rows, int64_t channels, float *for_features, float *for_weight,
                                     float *for_bias);

// A decoder level: the candidates' features [., C_in] through relu(convolution + bias), `skip` [encoder's sites, C_out] added on the
// union, which holds all candidates and all of the encoder's sites -> joined [union's sites, C_out] unless null, their logits
// joined @ head [C_out] + head_bias, and the union's words less the sites whose logit is not above keep_above. `decoded` is room for
// [candidates, C_out] where C_out exceeds 64.
CALVARIA_API void decide(const float *features, const float *weight, const float *bias, const uint64_t *candidate_words,
                         const int32_t *candidate_starts, const float *skip, const uint64_t *encoder_words, const int32_t *encoder_starts,
                         const uint64_t *union_words, const int32_t *union_starts, int64_t B, int64_t X, int64_t Y, int64_t W,
                         int64_t C_in, int64_t C_out, const float *head, float head_bias, float keep_above, float *decoded, float *joined,
                         float *logits, uint64_t *kept);
