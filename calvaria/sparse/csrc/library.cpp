// What the library says of itself.

#include "interface.h"

#include <omp.h>

const char *calvaria_interface() { return CALVARIA_INTERFACE; }

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
