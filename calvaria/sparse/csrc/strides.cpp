// Sites at twice and at half the stride.

#include "interface.h"
#include "parallel.h"
#include "words.h"

#include <vector>

namespace {

constexpr int64_t WORDS_A_THREAD = 1 << 13;

int64_t half(int64_t size) { return (size + 1) / 2; }

// Word w of the OR of a coarse line's four children lines, [2x, 2x + 1] × [2y, 2y + 1] as far as they lie in the grid.
struct Children {
    const uint64_t *lines[4];
    int64_t W;

    Children(const uint64_t *grid, int64_t x, int64_t y, int64_t X, int64_t Y, int64_t W) : W(W) {
        for (int i = 0; i < 4; ++i) {
            const int64_t fine_x = std::min(2 * x + i / 2, X - 1), fine_y = std::min(2 * y + i % 2, Y - 1);
            lines[i] = grid + (fine_x * Y + fine_y) * W;
        }
    }

    uint64_t operator()(int64_t w) const { return w < W ? lines[0][w] | lines[1][w] | lines[2][w] | lines[3][w] : 0; }
};

uint64_t pairs(uint64_t word) { return squeeze(word | word >> 1); }

// A coarse line as far as kernel 4 reaches from it: the OR of its neighbours one below along x and y, and of itself.
// `padded` has a zero word on either side. Kernel 2 reaches only from itself.
void reaching(const uint64_t *grid, int64_t x, int64_t y, int64_t Y, int64_t W, int64_t kernel, uint64_t *line) {
    const uint64_t *own = grid + (x * Y + y) * W;
    if (kernel == 2) {
        std::copy(own, own + W, line);
        return;
    }
    const uint64_t *below_x = x ? own - Y * W : own;
    const int64_t below_y = y ? W : 0;
    uint64_t carry = 0;
    for (int64_t w = 0; w < W; ++w) {
        const uint64_t word = own[w] | below_x[w] | (own - below_y)[w] | (below_x - below_y)[w];
        line[w] = word | word << 1 | carry;
        carry = word >> 63;
    }
}

uint64_t doubled(const uint64_t *line, int64_t w) {
    const uint64_t word = spread(line[w / 2] >> (w % 2 * 32));
    return word | word << 1;
}

}  // namespace

void parents(const uint64_t *fine, int64_t B, int64_t X, int64_t Y, int64_t W, uint64_t *coarse) {
    const int64_t coarse_x = half(X), coarse_y = half(Y), coarse_w = half(W);
    parallel_for(B * coarse_x * coarse_y, WORDS_A_THREAD / std::max<int64_t>(W, 1) + 1, [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int64_t b = line / (coarse_x * coarse_y), x = line / coarse_y % coarse_x, y = line % coarse_y;
            const Children below(fine + b * X * Y * W, x, y, X, Y, W);
            for (int64_t w = 0; w < coarse_w; ++w) coarse[line * coarse_w + w] = pairs(below(2 * w)) | pairs(below(2 * w + 1)) << 32;
        }
    });
}

void children(const uint64_t *coarse, const int64_t *limits, int64_t B, int64_t X, int64_t Y, int64_t W, int64_t kernel,
              uint64_t *fine) {
    const int64_t coarse_x = half(X), coarse_y = half(Y), coarse_w = half(W);
    parallel_for(B * coarse_x * coarse_y, WORDS_A_THREAD / std::max<int64_t>(4 * W, 1) + 1, [=](int64_t begin, int64_t end) {
        std::vector<uint64_t> reached(coarse_w);
        for (int64_t line = begin; line < end; ++line) {
            const int64_t b = line / (coarse_x * coarse_y), x = line / coarse_y % coarse_x, y = line % coarse_y;
            const int64_t *limit = limits + 3 * b;
            reaching(coarse + b * coarse_x * coarse_y * coarse_w, x, y, coarse_y, coarse_w, kernel, reached.data());
            for (int64_t i = 2 * x; i < std::min(2 * x + 2, X); ++i)
                for (int64_t j = 2 * y; j < std::min(2 * y + 2, Y); ++j) {
                    uint64_t *into = fine + ((b * X + i) * Y + j) * W;
                    const int64_t depth = i < limit[0] && j < limit[1] ? limit[2] : 0;
                    for (int64_t w = 0; w < W; ++w) into[w] = doubled(reached.data(), w) & ones(depth - 64 * w);
                }
        }
    });
}
