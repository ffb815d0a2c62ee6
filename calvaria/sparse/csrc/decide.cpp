// A decoder level in one pass, and features carried from one set of sites to another.

#include "convolve.h"
#include "interface.h"
#include "strips.h"
#include "windows.h"

#include <cstring>

namespace {

// What `decide` is given and gives of a level; interface.h says what each is.
struct Level {
    Grid candidates, encoder, together;
    const float *features;
    Weights weights;
    const float *skip;
    std::vector<float> bias, head;  // zero past the last channel
    float head_bias, keep_above;
    float *joined, *logits;
    uint64_t *kept;

    int64_t channels() const { return weights.C_out; }
    int64_t stride() const { return int64_t(head.size()); }
};

void add_to(float *row, const float *added, int64_t channels) {
    int64_t c = 0;
    for (; c + EIGHT <= channels; c += EIGHT) eight(row + c) += eight(added + c);
    for (; c < channels; ++c) row[c] += added[c];
}

// Adds the encoder's features to rows [tile.rows, stride] of the union's sites.
void add_skips(const Level &level, const Tile &tile, float *rows) {
    for (const Place &place : tile.places) {
        const Span local = {place.span.bits, place.span.row - tile.first_row};
        const Span skips = {level.encoder.words[place.word], level.encoder.starts[place.word]};
        for_runs(skips.bits, local, skips, [&](int64_t first, int64_t other, int64_t length) {
            float *row = rows + first * level.stride();
            const float *skip = level.skip + other * level.channels();
            for (; length--; row += level.stride(), skip += level.channels())
                add_to(row, skip, level.channels());
        });
    }
}

float logit_of(const Level &level, const float *row) {
    Eight products = {};
    for (int64_t c = 0; c < level.stride(); c += EIGHT) products += eight(row + c) * eight(&level.head[c]);
    return level.head_bias + ((products[0] + products[4]) + (products[1] + products[5])) +
           ((products[2] + products[6]) + (products[3] + products[7]));
}

void keep_words(const Level &level, const Tile &tile) {
    std::fill(level.kept + tile.first_word, level.kept + tile.last_word, 0);
    for (const Place &place : tile.places) {
        const float *logits = level.logits + place.span.row;
        uint64_t keep = 0;
        for (int64_t i = 0; i < count(place.span.bits); ++i) keep |= uint64_t(logits[i] > level.keep_above) << i;
        level.kept[place.word] = deposit(keep, place.span.bits);
    }
}

// From rows [tile.rows, stride] of the union's sites, which hold the candidates' features and zeros elsewhere, to all that is decided.
void decide_tile(const Level &level, const Tile &tile, float *rows) {
    add_skips(level, tile, rows);
    for (int64_t i = 0; i < tile.rows; ++i) {
        const float *row = rows + i * level.stride();
        level.logits[tile.first_row + i] = logit_of(level, row);
        if (level.joined) std::copy_n(row, level.channels(), level.joined + (tile.first_row + i) * level.channels());
    }
    keep_words(level, tile);
}

void decide_eight(const Level &level) {
    float packed[27 * EIGHT * EIGHT];
    pack_windows(level.weights.values, packed);
    parallel_strips(level.candidates, level.features, level.together, [&](const Tile &tile, DenseLines &dense, int64_t) {
        std::vector<float> rows(tile.rows * EIGHT);
        for (const Group &group : groups_of(level.candidates, tile, dense))
            convolve_group(group, dense, packed, &eight(level.bias.data()), rows.data());
        decide_tile(level, tile, rows.data());
    });
}

void decide_narrow(const Level &level) {
    const SameSites map = {level.candidates, level.together};
    parallel_tiles<Workspace>(level.together, 1, [&](const Tile &tile, int64_t, Workspace &workspace) {
        convolve_tile(map, tile, level.features, level.weights, 0, level.stride(), workspace);
        float *rows = workspace.sums.data();
        for (const Place &place : tile.places) {
            const Span local = {place.span.bits, place.span.row - tile.first_row};
            for_runs(level.candidates.words[place.word], local, local, [&](int64_t first, int64_t, int64_t length) {
                float *row = rows + first * level.stride();
                finish(row, level.stride(), length, level.bias.data(), level.stride(), row, level.stride());
            });
        }
        decide_tile(level, tile, rows);
    });
}

// With many channels, whose sites are few, a tile's weights cost more to fetch than its sums: the convolution comes first, as a whole.
void decide_wide(const Level &level, float *decoded) {
    const int64_t channels = level.channels();
    convolve_all(SameSites{level.candidates, level.candidates}, level.features, level.weights, level.bias.data(), decoded);
    parallel_tiles<std::vector<float>>(level.together, 1, [&](const Tile &tile, int64_t, std::vector<float> &rows) {
        rows.assign(tile.rows * level.stride(), 0.f);
        for (const Place &place : tile.places) {
            const Span local = {place.span.bits, place.span.row - tile.first_row};
            const Span candidates = {level.candidates.words[place.word], level.candidates.starts[place.word]};
            for_runs(candidates.bits, local, candidates, [&](int64_t first, int64_t other, int64_t length) {
                for (int64_t i = 0; i < length; ++i)
                    std::copy_n(&decoded[(other + i) * channels], channels, &rows[(first + i) * level.stride()]);
            });
        }
        decide_tile(level, tile, rows.data());
    });
}

}  // namespace

void decide(const float *features, const float *weight, const float *bias, const uint64_t *candidate_words,
            const int32_t *candidate_starts, const float *skip, const uint64_t *encoder_words, const int32_t *encoder_starts,
            const uint64_t *union_words, const int32_t *union_starts, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t C_in,
            int64_t C_out, const float *head, float head_bias, float keep_above, float *decoded, float *joined, float *logits,
            uint64_t *kept) {
    const auto grid = [=](const uint64_t *words, const int32_t *starts) { return Grid{words, starts, X, Y, W, B * X * Y * W}; };
    const bool all_eight = C_in == EIGHT && C_out == EIGHT;
    const int64_t stride = all_eight ? EIGHT : round_up(C_out, EIGHT);
    const Level level{grid(candidate_words, candidate_starts), grid(encoder_words, encoder_starts), grid(union_words, union_starts),
                features, {weight, C_in, C_out}, skip, padded(bias, C_out, stride), padded(head, C_out, stride), head_bias, keep_above,
                joined, logits, kept};
    all_eight ? decide_eight(level) : stride > SLICE ? decide_wide(level, decoded) : decide_narrow(level);
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
