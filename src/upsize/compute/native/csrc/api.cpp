// The names that library.py calls.
#include "pool.h"
#include "types.h"

namespace upsize {
extern const Kernels plain;
#if defined(__x86_64__)
extern const Kernels avx2, avx512_vnni, avx512_bf16;
#endif

namespace {

// From the plainest to the best.
const Kernels* const LEVELS[] = {
    &plain,
#if defined(__x86_64__)
    &avx2, &avx512_vnni, &avx512_bf16,
#endif
};

int best() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    auto has = [](bool all) { return all; };
    const bool fma = has(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    const bool vnni = has(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vnni"));
    if (fma && vnni) return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
    if (fma) return 1;
#endif
    return 0;
}

int level = best();

}  // namespace
}  // namespace upsize

using namespace upsize;

extern "C" {

int upsize_best_level() { return best(); }

// Use the kernels of a level up to the best (for tests); the level in use.
int upsize_level(int wanted) {
    if (wanted >= 0 && wanted <= best()) level = wanted;
    return level;
}

void upsize_threads(int count) { set_threads(count); }

void upsize_use_threads(int count) { use_threads(count); }

void upsize_project(const Layer* l, const Batch* b, int start, int stop) { LEVELS[level]->project(*l, *b, start, stop); }

void upsize_finish(const Layer* l, const Batch* b, int start, int stop) { LEVELS[level]->finish(*l, *b, start, stop); }

void upsize_turn(float* x, int rows, int width) { LEVELS[level]->turn(x, rows, width); }

void upsize_linear(const Matrix* m, const float* x, int rows, float* out) { LEVELS[level]->linear(*m, x, rows, out); }
}
