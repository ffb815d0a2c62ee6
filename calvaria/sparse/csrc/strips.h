// A grid in strips, along which a thread moves with the lines around it laid out densely.

#pragma once

#include "dense_lines.h"

#include <memory>
#include <mutex>

constexpr int64_t STRIP_PLANES = 48;  // along x, at most

// Some neighbouring lines of an item, along a range of x.
struct Strip {
    int64_t item, x_begin, x_end, y_begin, y_end;
};

// All strips of a grid.
class Strips {
  public:
    explicit Strips(const Grid &grid)
        : X(grid.X), Y(grid.Y), items(grid.size / (X * Y * grid.W)), across((X + STRIP_PLANES - 1) / STRIP_PLANES),
          along((Y + STRIP_LINES - 1) / STRIP_LINES) {}

    int64_t size() const { return items * across * along; }

    Strip operator[](int64_t i) const {
        const int64_t x = i / along % across, y = i % along;
        return {i / along / across, X * x / across, X * (x + 1) / across, Y * y / along, Y * (y + 1) / along};
    }

  private:
    const int64_t X, Y, items, across, along;
};

// Objects that are worth using again, each by one thread at a time.
template <class T>
class Pool {
  public:
    template <class Make>
    std::unique_ptr<T> take(const Make &make) {
        const std::lock_guard<std::mutex> locked(access);
        if (idle.empty()) return make();
        std::unique_ptr<T> taken = std::move(idle.back());
        idle.pop_back();
        return taken;
    }

    void put(std::unique_ptr<T> used) {
        const std::lock_guard<std::mutex> locked(access);
        idle.push_back(std::move(used));
    }

  private:
    std::mutex access;
    std::vector<std::unique_ptr<T>> idle;
};

// Calls body(tile of `tiles`, dense, number of the strip) for each plane of each strip, in the threads there are; `dense` can lay out the
// features of the sites of `grid` around it. Every word belongs to a tile, also when it has no sites.
template <class Body>
static void parallel_strips(const Grid &grid, const float *features, const Grid &tiles, const Body &body) {
    const Strips strips(grid);
    Pool<DenseLines> pool;
    parallel_blocks(strips.size(), 1, [&](int64_t i, int64_t) {
        std::unique_ptr<DenseLines> dense = pool.take([&] { return std::make_unique<DenseLines>(grid, features); });
        const Strip strip = strips[i];
        dense->open(strip.item, strip.y_begin);
        for (int64_t x = strip.x_begin; x < strip.x_end; ++x) {
            const int64_t line = (strip.item * grid.X + x) * grid.Y;
            dense->move(x);
            body(tile_of(tiles, (line + strip.y_begin) * grid.W, (line + strip.y_end) * grid.W), *dense, i);
        }
        dense->close();
        pool.put(std::move(dense));
    });
}
