// The C functions that library.py calls.
#include "pool.h"
#include "types.h"

namespace upsize {
extern const Kernels plain;
#if defined(__x86_64__)
extern const Kernels avx2, avx512_vnni, avx512_bf16;
#endif

namespace {

// From the most portable to the fastest, in the order of library.LEVELS.
const Kernels* const LEVELS[] = {
    &plain,
#if defined(__x86_64__)
    &avx2, &avx512_vnni, &avx512_bf16,
#endif
};

int best() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
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

// Use the kernels of a level up to the best one (for tests). Returns the level in use.
int upsize_level(int wanted) {
    if (wanted >= 0 && wanted <= best()) level = wanted;
    return level;
}

// Write the sizes of PackedMatrix, Layer and Batch, in bytes.
void upsize_struct_sizes(int32_t* sizes) {
    sizes[0] = sizeof(PackedMatrix);
    sizes[1] = sizeof(Layer);
    sizes[2] = sizeof(Batch);
}

void upsize_set_threads(int count) { set_threads(count); }

void upsize_use_threads(int count) { use_threads(count); }

int upsize_qkv_forward(const Layer* l, const Batch* b, int start, int stop) {
    return LEVELS[level]->qkv_forward(*l, *b, start, stop);
}

int upsize_attn_mlp_forward(const Layer* l, const Batch* b, int start, int stop) {
    return LEVELS[level]->attn_mlp_forward(*l, *b, start, stop);
}

void upsize_rotate(float* x, int rows, int width) { LEVELS[level]->rotate(x, rows, width); }

int upsize_linear(const PackedMatrix* m, const float* x, int rows, float* out) {
    return LEVELS[level]->linear(*m, x, rows, out);
}
}
