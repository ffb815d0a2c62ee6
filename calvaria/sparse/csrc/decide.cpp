// A decoder level in one pass, and features carried from one set of sites to another.

#include "convolve.h"
#include "interface.h"

#include <cstring>

namespace {

// What `decide` needs of a level; interface.h says what each is.
struct Level {
    Grid candidates, encoder, together;
    const float *features;
    Weights weights;
    const float *bias, *skip, *head;
    float head_bias, keep_above;

    SameSites map() const { return {candidates, together}; }
};

// rows [tile.rows, stride] from the sums of the candidates' convolution to the features of all sites of the union.
void join(const Level &level, const Tile &tile, int64_t stride, float *rows) {
    const int64_t channels = level.weights.C_out;
    for (const Place &place : tile.places) {
        const uint64_t candidates = level.candidates.words[place.word];
        const Span skips = {level.encoder.words[place.word], level.encoder.starts[place.word]};
        const Span local = {place.span.bits, place.span.row - tile.first_row};
        for_runs(candidates, local, local, [&](int64_t first, int64_t, int64_t length) {
            for (float *row = rows + first * stride; length--; row += stride) finish_row(row, level.bias, channels, row);
        });
        for_runs(skips.bits, local, skips, [&](int64_t first, int64_t other, int64_t length) {
            const float *skip = level.skip + other * channels;
            for (float *row = rows + first * stride; length--; row += stride, skip += channels)
                for (int64_t c = 0; c < channels; ++c) row[c] += skip[c];
        });
    }
}

// head: [stride], zero past the last channel
float judge(const float *row, const float *head, int64_t stride, float head_bias) {
    Vector products = load(row) * load(head);
    for (int64_t c = LANES; c < stride; c += LANES) products += load(row + c) * load(head + c);
    float logit = head_bias;
    for (int i = 0; i < LANES; ++i) logit += products[i];
    return logit;
}

void keep_words(const Tile &tile, const float *logits, float keep_above, uint64_t *kept) {
    std::fill(kept + tile.first_word, kept + tile.last_word, 0);
    for (const Place &place : tile.places) {
        uint64_t keep = 0;
        for (int64_t i = 0; i < count(place.span.bits); ++i) keep |= uint64_t(logits[place.span.row + i] > keep_above) << i;
        kept[place.word] = deposit(keep, place.span.bits);
    }
}

}  // namespace

void decide(const float *features, const float *weight, const float *bias, const uint64_t *candidate_words,
            const int32_t *candidate_starts, const float *skip, const uint64_t *encoder_words, const int32_t *encoder_starts,
            const uint64_t *union_words, const int32_t *union_starts, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t C_in,
            int64_t C_out, const float *head, float head_bias, float keep_above, float *joined, float *logits, uint64_t *kept) {
    const auto grid = [=](const uint64_t *words, const int32_t *starts) { return Grid{words, starts, X, Y, W, B * X * Y * W}; };
    const int64_t stride = round_up(C_out, LANES);
    std::vector<float> padded_head(stride);
    std::copy_n(head, C_out, padded_head.data());
    const Level level{grid(candidate_words, candidate_starts), grid(encoder_words, encoder_starts), grid(union_words, union_starts),
                      features, {weight, C_in, C_out}, bias, skip, padded_head.data(), head_bias, keep_above};
    parallel_tiles(level.together, 1, [&](const Tile &tile, int64_t) {
        Workspace &workspace = Workspace::of_thread();
        convolve_tile(level.map(), tile, features, level.weights, 0, stride, workspace);
        float *rows = workspace.sums.data();
        join(level, tile, stride, rows);
        for (int64_t i = 0; i < tile.rows; ++i) {
            logits[tile.first_row + i] = judge(rows + i * stride, level.head, stride, head_bias);
            if (joined) std::copy_n(rows + i * stride, C_out, joined + (tile.first_row + i) * C_out);
        }
        keep_words(tile, logits, keep_above, kept);
    });
}

void transfer(const float *features, const uint64_t *source_words, const int32_t *source_starts, const uint64_t *target_words,
              const int32_t *target_starts, int64_t size, int64_t channels, float *out) {
    const size_t row = channels * sizeof(float);
    parallel_blocks(size, 1 << 10, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const Span source = {source_words[i], source_starts[i]}, target = {target_words[i], target_starts[i]};
            for_runs(target.bits & source.bits, source, target, [=](int64_t from, int64_t to, int64_t length) {
                std::memcpy(out + to * channels, features + from * channels, length * row);
            });
            for_runs(target.bits & ~source.bits, target, target, [=](int64_t to, int64_t, int64_t length) {
                std::memset(out + to * channels, 0, length * row);
            });
        }
    });
}
