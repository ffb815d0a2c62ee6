// Sites of a grid: their ranks, their coordinates, and sites picked from sites.

#include "flags.h"
#include "interface.h"
#include "parallel.h"
#include "words.h"

#include <vector>

namespace {

constexpr int64_t BLOCK = 1 << 13;  // words

typedef int32_t Coordinate __attribute__((vector_size(16), aligned(4)));

}  // namespace

int64_t index_words(const uint64_t *words, int64_t n, int32_t *starts) {
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    std::vector<int64_t> before(blocks + 1);
    parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block) {
            int64_t sites = 0;
            for (int64_t i = block * BLOCK; i < std::min(n, (block + 1) * BLOCK); ++i) sites += count(words[i]);
            before[block + 1] = sites;
        }
    });
    for (int64_t block = 0; block < blocks; ++block) before[block + 1] += before[block];
    parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
        int64_t sites = before[begin];
        for (int64_t i = begin * BLOCK; i < std::min(n, end * BLOCK); ++i) {
            starts[i] = int32_t(sites);
            sites += count(words[i]);
        }
    });
    starts[n] = int32_t(before[blocks]);
    return before[blocks];
}

void coordinates(const uint64_t *words, const int32_t *starts, int64_t B, int64_t X, int64_t Y, int64_t W, int32_t *coordinates) {
    parallel_blocks(B * X * Y, BLOCK / std::max<int64_t>(W, 1) + 1, [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int32_t b = int32_t(line / (X * Y)), x = int32_t(line / Y % X), y = int32_t(line % Y);
            int32_t *out = coordinates + 4 * int64_t(starts[line * W]);
            for (int64_t w = 0; w < W; ++w)
                for (uint64_t word = words[line * W + w]; word; word &= word - 1, out += 4)
                    *reinterpret_cast<Coordinate *>(out) = Coordinate{b, x, y, int32_t(64 * w + lowest(word))};
        }
    });
}

// Neighbours in the list mostly share a word: it is gathered and written when another one comes, atomically, since threads may meet.
int64_t mark(const int32_t *coordinates, int64_t N, int64_t B, int64_t X, int64_t Y, int64_t Z, uint64_t *words) {
    const int64_t W = (Z + 63) / 64;
    int64_t outside = 0;
    parallel_for(N, BLOCK, [=, &outside](int64_t begin, int64_t end) {
        int64_t place = -1, mine = 0;
        uint64_t word = 0;
        for (int64_t i = begin; i < end; ++i) {
            const int32_t *at = coordinates + 4 * i;
            if (uint64_t(at[0]) >= uint64_t(B) || uint64_t(at[1]) >= uint64_t(X) || uint64_t(at[2]) >= uint64_t(Y) ||
                uint64_t(at[3]) >= uint64_t(Z)) {
                ++mine;
                continue;
            }
            const int64_t here = ((at[0] * X + at[1]) * Y + at[2]) * W + at[3] / 64;
            if (here != place) {
                if (place >= 0) __atomic_fetch_or(words + place, word, __ATOMIC_RELAXED);
                place = here;
                word = 0;
            }
            word |= 1ull << (at[3] % 64);
        }
        if (place >= 0) __atomic_fetch_or(words + place, word, __ATOMIC_RELAXED);
        __atomic_fetch_add(&outside, mine, __ATOMIC_RELAXED);
    });
    return outside;
}

void select_sites(const uint64_t *words, const int32_t *starts, int64_t n, const uint8_t *keep, uint64_t *chosen) {
    const int64_t sites = starts[n];
    parallel_blocks(n, BLOCK, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t start = starts[i];
            if (!words[i])
                chosen[i] = 0;
            else if (start + 64 <= sites)
                chosen[i] = deposit(gather_flags(keep + start), words[i]);
            else
                chosen[i] = deposit(gather_flags(keep + start, sites - start), words[i]);
        }
    });
}

void rows(const uint64_t *words, const int32_t *starts, const uint64_t *wanted, const int32_t *wanted_starts, int64_t n, int32_t *rows) {
    const int32_t none = starts[n];
    parallel_blocks(n, BLOCK, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const uint64_t here = words[i];
            int32_t *out = rows + wanted_starts[i];
            for (uint64_t word = wanted[i]; word; word &= word - 1) {
                const uint64_t bit = word & -word;
                *out++ = here & bit ? starts[i] + int32_t(count(here & (bit - 1))) : none;
            }
        }
    });
}
