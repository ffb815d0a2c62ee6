// What the library says of itself.

#include "interface.h"

#include <omp.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

const char *calvaria_sources() { return CALVARIA_SOURCES; }

const char *calvaria_simd() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx2) return avx512 ? "avx512" : "avx2";
#endif
    return "baseline";
}

int64_t calvaria_threads() { return omp_get_max_threads(); }

// A fresh page costs a fault; a huge one 512 times fewer. A refusal changes nothing but the time.
void huge_pages([[maybe_unused]] void *memory, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
    constexpr uintptr_t PAGE = 1 << 21;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + PAGE - 1) / PAGE * PAGE;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / PAGE * PAGE;
    if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#endif
}
