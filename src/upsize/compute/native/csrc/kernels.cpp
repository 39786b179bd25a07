// setup.py compiles this file once for each level of instruction sets; UPSIZE_LEVEL is the level's name.
#include "layer.h"

namespace {

Status qkv_forward(const Layer& l, const Batch& b, int start, int stop) {
    if (!supported(l)) return UNSUPPORTED_SHAPE;
    const int64_t work = (stop - start) * multiplications_per_row(l.qkv);
    return for_row_blocks(work, start, stop,
                          [&](bool parallel, int from, int to) { return qkv_rows(parallel, l, b, from, to); });
}

Status attn_mlp_forward(const Layer& l, const Batch& b, int start, int stop) {
    if (!supported(l)) return UNSUPPORTED_SHAPE;
    int64_t seen = 0;
    for (int row = start; row < stop; ++row) seen += b.slot[row] - b.first_slot[row] + 1;
    const int64_t weights =
        multiplications_per_row(l.output) + multiplications_per_row(l.gate_up) + multiplications_per_row(l.down);
    const int64_t work = (stop - start) * weights + 2 * seen * l.heads * l.head_dim;
    return for_row_blocks(work, start, stop,
                          [&](bool parallel, int from, int to) { return attn_mlp_rows(parallel, l, b, from, to); });
}

// Multiply each row, in place, with Hadamard matrices whose size is the largest power of two that divides the width.
// This is the fast Walsh-Hadamard transform; it is its own inverse.
void rotate(float* x, int rows, int width) {
    const int size = width & -width;
    const float scale = 1.0f / __builtin_sqrtf((float)size);
    parallel_for(rows >= 64, rows, [&](int r) {
        for (float* block = x + (long)r * width; block < x + (long)(r + 1) * width; block += size) {
            for (int half = 1; half < size; half *= 2)
                for (int i = 0; i < size; i += 2 * half)
                    for (int j = i; j < i + half; ++j) {
                        const float a = block[j], b = block[j + half];
                        block[j] = a + b;
                        block[j + half] = a - b;
                    }
            for (int i = 0; i < size; ++i) block[i] *= scale;
        }
    });
}

// One GEMM, for tests and benchmarks: out [count][outputs] = x [count][inputs] times the matrix.
Status linear(const PackedMatrix& m, const float* x, int count, float* out) {
    if (!supported(m)) return UNSUPPORTED_SHAPE;
    Layer l = {};
    l.hidden = m.inputs;
    l.qkv = m;
    Scratch& s = scratch;
    if (!s.reserve(scratch_bytes(l, count))) return OUT_OF_MEMORY;
    Activations rows = allocate_activations(l, count, s);
    set_groups(rows, m);
    parallel_for(true, count, [&](int r) { quantize_row(m, rows, r, x + (long)r * m.inputs); });
    memset(out, 0, sizeof(float) * count * m.outputs);
    gemm_add(true, m, rows, count, out);
    return OK;
}

}  // namespace

namespace upsize {
extern const Kernels UPSIZE_LEVEL;
const Kernels UPSIZE_LEVEL = {qkv_forward, attn_mlp_forward, rotate, linear};
}  // namespace upsize
