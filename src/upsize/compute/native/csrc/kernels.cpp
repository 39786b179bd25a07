// Compiled once for each level of the processor, which UPSIZE_LEVEL names.
#include "layer.h"

namespace {

void project(const Layer& l, const Batch& b, int start, int stop) {
    const int64_t work = (stop - start) * size_of(l.qkv);
    by_blocks(work, start, stop, [&](bool together, int from, int to) { project_rows(together, l, b, from, to); });
}

void finish(const Layer& l, const Batch& b, int start, int stop) {
    int64_t seen = 0;
    for (int row = start; row < stop; ++row) seen += b.slot[row] - b.first[row] + 1;
    const int64_t weights = size_of(l.output) + size_of(l.gate_up) + size_of(l.down);
    const int64_t work = (stop - start) * weights + 2 * seen * l.heads * l.head_dim;
    by_blocks(work, start, stop, [&](bool together, int from, int to) { finish_rows(together, l, b, from, to); });
}

// Rows times Hadamard matrices of the largest power of two that divides their width.
void turn(float* x, int rows, int width) {
    const int size = width & -width;
    const float scale = 1.0f / __builtin_sqrtf((float)size);
    each(rows >= 64, rows, [&](int r) {
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

// The product alone, for tests and for measuring it.
void linear(const Matrix& m, const float* x, int count, float* out) {
    Layer l = {};
    l.hidden = m.inputs;
    l.qkv = m;
    Scratch& s = scratch;
    s.reserve(needed(l, count));
    Rows rows = rows_for(l, m, count, s);
    aim(rows, m);
    each(true, count, [&](int r) { take(m, rows, r, x + (long)r * m.inputs); });
    memset(out, 0, sizeof(float) * count * m.outputs);
    add_product(true, m, rows, count, out);
}

}  // namespace

namespace upsize {
extern const Kernels UPSIZE_LEVEL;
const Kernels UPSIZE_LEVEL = {project, finish, turn, linear};
}  // namespace upsize
