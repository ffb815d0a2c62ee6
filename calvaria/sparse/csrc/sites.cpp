// Sites of a grid: their ranks, their coordinates, and sites picked from sites.

#include "flags.h"
#include "interface.h"
#include "parallel.h"
#include "words.h"

#include <cstring>
#include <vector>

namespace {

constexpr int64_t BLOCK = 1 << 13;  // words

struct Site {
    int32_t b, x, y, z;
};

bool same_line(const Site &a, const Site &b) { return std::memcmp(&a, &b, 2 * sizeof a.b) == 0 && a.y == b.y; }

bool same_word(const Site &a, const Site &b) { return same_line(a, b) && a.z / 64 == b.z / 64; }

struct Grid {
    int64_t B, X, Y, Z, W;

    // The number of a site's line, or -1 where the grid has none.
    int64_t line(const Site &at) const {
        const bool inside = uint64_t(at.b) < uint64_t(B) && uint64_t(at.x) < uint64_t(X) && uint64_t(at.y) < uint64_t(Y);
        return inside ? (at.b * X + at.x) * Y + at.y : -1;
    }

    // Whether the word of `next` comes before that of `at`.
    bool descends(const Site &at, const Site &next) const {
        const int64_t from = line(at), to = line(next);
        return to < from || (to == from && next.z / 64 < at.z / 64);
    }
};

// write(i, rest) for i = 0, 1 … n - 1, n bits being set in the word, where `rest` is the word without its i lowest bits. In fours, as a
// branch for each is often guessed wrong: with room for more, up to three calls follow whose `rest` is zero. Returns n.
template <class Write>
int64_t each(uint64_t word, bool room, const Write &write) {
    const int64_t n = count(word);
    if (room)
        for (int64_t i = 0; i < n; i += 4)
            for (int64_t k = i; k < i + 4; ++k, word &= word - 1) write(k, word);
    else
        for (int64_t i = 0; i < n; ++i, word &= word - 1) write(i, word);
    return n;
}

// Writes the sites of a word whose first cell is `first`; returns where the next ones go.
Site *expand(uint64_t word, const Site first, Site *out, const Site *end) {
    uint64_t halves[2];
    std::memcpy(halves, &first, sizeof first);
    return out + each(word, end - out >= 64, [=](int64_t i, uint64_t rest) {
        const uint64_t site[2] = {halves[0], halves[1] + (uint64_t(lowest(rest)) << 32)};
        std::memcpy(out + i, site, sizeof site);
    });
}

// Writes the rows of the wanted sites of a word whose own first site has the row `start`.
void find(uint64_t word, int32_t start, uint64_t wanted, int32_t none, int32_t *out, const int32_t *end) {
    if (word == wanted) {
        for (int32_t i = 0; i < int32_t(count(word)); ++i) out[i] = start + i;
        return;
    }
    each(wanted, end - out >= 64, [=](int64_t i, uint64_t rest) {
        const uint64_t bit = rest & -rest;
        const int32_t row = start + int32_t(count(word & (bit - 1)));
        out[i] = word & bit ? row : none;
    });
}

// In raster order, as they mostly come, each word is written from what is seen of it, never read, and threads have words of their own.
// Returns false, and leaves words unfinished, as soon as that order is broken.
bool mark_in_order(const Site *at, const Site *end, const Grid &grid, uint64_t *words, int64_t *outside) {
    int64_t line = 0, missed = 0;
    while (at < end) {
        const Site first = *at;
        const int64_t above = line;
        line = grid.line(first);
        const uint32_t depth = line < 0 ? 0 : uint32_t(grid.Z);
        uint64_t *into = words + line * grid.W, word = 0;
        uint32_t place = 0;
        for (; at < end && same_line(*at, first); ++at) {
            const uint32_t z = uint32_t(at->z), previous = place;
            if (z >= depth) {
                ++missed;
                continue;
            }
            place = z / 64;
            if (place < previous || line < above) return false;
            word = (place == previous ? word : 0) | 1ull << (z % 64);
            into[place] = word;
        }
    }
    __atomic_fetch_add(outside, missed, __ATOMIC_RELAXED);
    return true;
}

void mark_in_any_order(const Site *begin, const Site *end, const Grid &grid, uint64_t *words, int64_t *outside) {
    int64_t missed = 0;
    for (const Site *at = begin; at < end; ++at) {
        const int64_t line = grid.line(*at);
        if (line >= 0 && uint64_t(at->z) < uint64_t(grid.Z))
            __atomic_fetch_or(words + line * grid.W + at->z / 64, 1ull << (at->z % 64), __ATOMIC_RELAXED);
        else
            ++missed;
    }
    __atomic_fetch_add(outside, missed, __ATOMIC_RELAXED);
}

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
    Site *sites = reinterpret_cast<Site *>(coordinates);
    parallel_blocks(B * X * Y, BLOCK / std::max<int64_t>(W, 1) + 1, [=](int64_t begin, int64_t end) {
        const Site *last = sites + starts[end * W];
        for (int64_t line = begin; line < end; ++line) {
            const int32_t b = int32_t(line / (X * Y)), x = int32_t(line / Y % X), y = int32_t(line % Y);
            Site *out = sites + starts[line * W];
            for (int64_t w = 0; w < W; ++w) out = expand(words[line * W + w], {b, x, y, int32_t(64 * w)}, out, last);
        }
    });
}

int64_t mark(const int32_t *coordinates, int64_t N, int64_t B, int64_t X, int64_t Y, int64_t Z, uint64_t *words) {
    const Site *sites = reinterpret_cast<const Site *>(coordinates);
    const Grid grid{B, X, Y, Z, (Z + 63) / 64};
    int64_t outside = 0;
    bool in_order = true;
    parallel_for(N, BLOCK, [&](int64_t begin, int64_t end) {
        while (begin > 0 && begin < end && same_word(sites[begin - 1], sites[begin])) ++begin;
        while (begin < end && end < N && same_word(sites[end - 1], sites[end])) ++end;
        // Parts in order may not be so together, and would then have words in common.
        const bool follows = begin == 0 || begin == end || !grid.descends(sites[begin - 1], sites[begin]);
        if (!follows || !mark_in_order(sites + begin, sites + end, grid, words, &outside))
            __atomic_store_n(&in_order, false, __ATOMIC_RELAXED);
    });
    if (in_order) return outside;
    outside = 0;
    parallel_for(N, BLOCK, [&](int64_t begin, int64_t end) { mark_in_any_order(sites + begin, sites + end, grid, words, &outside); });
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
        const int32_t *last = rows + wanted_starts[end];
        for (int64_t i = begin; i < end; ++i)
            if (wanted[i]) find(words[i], starts[i], wanted[i], none, rows + wanted_starts[i], last);
    });
}

void spread_values(const uint64_t *words, const int32_t *starts, int64_t x, int64_t y, int64_t stride_x, int64_t stride_y, int64_t depth,
                   const float *values, float absent, float *field) {
    const int64_t W = (depth + 63) / 64;
    parallel_blocks(x * y, BLOCK / (W + 1) + 1, [=](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
            const int64_t place = line / y * stride_x + line % y * stride_y;
            float *cells = field + line * depth;
            if (absent != 0) std::fill_n(cells, depth, absent);
            for (int64_t w = 0; w < W; ++w) {
                const float *value = values + starts[place + w];
                for (uint64_t word = words[place + w]; word; word &= word - 1) cells[64 * w + lowest(word)] = *value++;
            }
        }
    });
}
