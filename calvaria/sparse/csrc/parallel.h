// Loops in the threads that PyTorch uses: OpenMP, of which a process has one, set by torch.set_num_threads.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

// A loop's team has all threads, and those that find no work do nothing: where num_threads varies, GNU's OpenMP ends threads and starts
// others.

// body(begin, end) over consecutive parts of [0, n), one a thread, none smaller than grain: for work that is even.
template <class Body>
static void parallel_for(int64_t n, int64_t grain, const Body &body) {
    const int64_t threads = omp_in_parallel() ? 1 : std::min<int64_t>(omp_get_max_threads(), n / std::max<int64_t>(grain, 1));
    if (threads <= 1) {
        if (n > 0) body(int64_t(0), n);
        return;
    }
#pragma omp parallel
    {
        const int64_t thread = omp_get_thread_num(), of = std::min<int64_t>(threads, omp_get_num_threads());
        if (thread < of) {
            const int64_t begin = n * thread / of, end = n * (thread + 1) / of;
            if (begin < end) body(begin, end);
        }
    }
}

// body(begin, end) over blocks of [0, n), each taken by the next thread that is free: for work that is uneven.
template <class Body>
static void parallel_blocks(int64_t n, int64_t block, const Body &body) {
    const int64_t blocks = (n + block - 1) / block;
    if (blocks <= 1 || omp_in_parallel() || omp_get_max_threads() <= 1) {
        for (int64_t begin = 0; begin < n; begin += block) body(begin, std::min(begin + block, n));
        return;
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < blocks; ++i) body(i * block, std::min((i + 1) * block, n));
}
