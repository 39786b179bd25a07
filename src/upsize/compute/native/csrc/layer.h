// One layer over some rows of a batch: `project` gives queries, keys and values, `finish` does the rest. Between the
// two every row's keys must be there.
//
// Many rows: each thread takes some of them through all of it. Few rows: the threads share each product by its columns.
#pragma once

#include <cstdlib>

#include "product.h"

namespace {

// Rows that one thread takes through a layer at once: their values stay in its cache.
constexpr int BLOCK = 96;
// Rows of one sequence whose attention is computed together, and keys at a time.
constexpr int QUERIES = 24, KEYS = 256;

// Memory of one thread, kept from call to call.
struct Scratch {
    char* memory = nullptr;
    size_t size = 0;
    size_t used = 0;

    ~Scratch() { free(memory); }
    void reserve(size_t bytes) {
        if (bytes > size) {
            free(memory);
            size = (bytes + 4095) / 4096 * 4096;
            memory = (char*)aligned_alloc(4096, size);
            if (!memory) abort();
        }
        used = 0;
    }
    template <class T>
    T* take(size_t count) {
        T* p = (T*)(memory + used);
        used += (count * sizeof(T) + 127) / 64 * 64;
        return p;
    }
};
thread_local Scratch scratch;

INLINE int widest(const Layer& l) {
    int attention = l.heads * l.head_dim;
    int w = l.hidden > attention ? l.hidden : attention;
    return w > l.intermediate ? w : l.intermediate;
}

// Bytes of all that a call takes for `rows` rows.
INLINE size_t needed(const Layer& l, int rows) {
    size_t wide = up_to(widest(l), PANEL) + PANEL, qkv = up_to(l.qkv.outputs, PANEL) + PANEL;
    return rows * (wide * 4 + (qkv > wide ? qkv : wide) * 4 + wide * sizeof(Side) + (wide / 16 + 1) * 8) + (1 << 16);
}

INLINE Rows rows_for(const Layer& l, const Matrix& m, int rows, Scratch& s) {
    Rows r;
    r.stride = up_to(widest(l), PANEL) + PANEL / 2;  // not a power of two, whose rows would share cache sets
    r.values = s.take<Side>(rows * r.stride);
    r.groups = 0;
    r.scales = s.take<float>(rows * (widest(l) / 16 + 1));
    r.sums = s.take<int32_t>(rows * (widest(l) / 16 + 1));
    (void)m;
    return r;
}

// The same rows for another matrix.
INLINE void aim(Rows& r, const Matrix& m) { r.groups = m.kind == INT8 ? groups_of(m) : 1; }

INLINE float inverse_rms(const float* x, int n, float eps) {
    F squares = {};
    for (int i = 0; i < n; i += LANES) {
        F v = load(x + i, n - i);
        squares += v * v;
    }
    return 1.0f / __builtin_sqrtf(sum(squares) / n + eps);
}

INLINE void norm_row(const float* x, const float* weight, int n, float eps, float* y) {
    const float scale = inverse_rms(x, n, eps);
    for (int i = 0; i < n; i += LANES) store(y + i, load(x + i, n - i) * scale * load(weight + i, n - i), n - i);
}

// Norm and take each row of the residual stream.
INLINE void normed(bool together, const Layer& l, const Matrix& m, const float* weight, const float* x, int rows,
                   const Rows& into) {
    each(together && rows > 8, rows, [&](int r) {
        alignas(64) float y[1 << 14];
        norm_row(x + (long)r * l.hidden, weight, l.hidden, l.eps, y);
        take(m, into, r, y);
    });
}

// RMSNorm of a head and its rotation by halves; y may be x.
INLINE void norm_rotate(const float* x, const float* weight, int n, float eps, const float* cos, const float* sin,
                        float factor, float* y) {
    const int half = n / 2;
    const float scale = inverse_rms(x, n, eps) * factor;
    for (int i = 0; i < half; i += LANES) {
        const int k = half - i;
        F a = load(x + i, k) * load(weight + i, k) * scale, b = load(x + half + i, k) * load(weight + half + i, k) * scale;
        F c = load(cos + i, k), s = load(sin + i, k);
        store(y + i, a * c - b * s, k);
        store(y + half + i, b * c + a * s, k);
    }
}

// Of some rows' product one key head, and the queries that share it, to where attention wants them.
static void place(const Layer& l, const Batch& b, int head, int start, int count, float* qkv, long stride) {
    const int d = l.head_dim, half = d / 2, panels = (d + PANEL - 1) / PANEL, shared = l.heads / l.kv_heads;
    const float factor = LOG2E / __builtin_sqrtf((float)d);  // softmax by powers of two
    for (int row = start; row < start + count; ++row, qkv += stride) {
        const float *cos = b.cos + (long)row * half, *sin = b.sin + (long)row * half;
        for (int h = head * shared; h < (head + 1) * shared; ++h) {
            float* x = qkv + h * d;
            bf16* q = b.queries + ((long)row * l.heads + h) * d;
            norm_rotate(x, l.q_norm, d, l.eps, cos, sin, factor, x);
            for (int i = 0; i < d; i += LANES) store_bf16(q + i, load(x + i, d - i), d - i);
        }
        const long slot = b.slot[row];
        alignas(64) bf16 small[1024];
        float *k = qkv + (l.heads + head) * d, *v = k + l.kv_heads * d;
        norm_rotate(k, l.k_norm, d, l.eps, cos, sin, 1.0f, k);
        for (int i = 0; i < d; i += LANES) store_bf16(small + i, load(k + i, d - i));
        bf16* keys = b.keys + head * b.slots * d + slot / PANEL * PANEL * d + slot % PANEL * 2;
        for (int i = 0; i < half; ++i) memcpy(keys + i * PANEL * 2, small + 2 * i, 4);
        bf16* values = b.values + head * panels * b.slots * PANEL + slot / 2 * PANEL * 2 + slot % 2;
        for (int i = 0; i < d; i += LANES)
            store_apart(values + i / PANEL * b.slots * PANEL + i % PANEL * 2, narrow(load(v + i, d - i)), d - i);
    }
}

// R rows times the first `parts` x 16 columns of a panel, stored or added.
template <int R>
INLINE void small_product(const Side* a, long stride, const bf16* panel, const char* ahead, int pairs, int parts,
                          float* c, long c_stride, bool add) {
    auto piece = [&](int from, auto constant) {
        constexpr int V = decltype(constant)::value;
        F sums[R][V];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                sums[r][v] = add ? cast<F>(c + r * c_stride + (from + v) * LANES) : F{};
        tile_bf16<R, V>(a, stride, panel + from * 32, ahead, pairs, sums);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) memcpy(c + r * c_stride + (from + v) * LANES, &sums[r][v], 64);
    };
    if (parts == VECTORS) return piece(0, Count<VECTORS>());
    int v = 0;
    if constexpr (VECTORS > 2)
        for (; v + 2 <= parts; v += 2) piece(v, Count<2>());
    for (; v < parts; ++v) piece(v, Count<1>());
}

// A head's queries of neighbouring rows as a product takes them: where they are, or widened into `room`.
INLINE const Side* sides(const bf16* q, long& stride, int count, int d, Side* room) {
    if constexpr (sizeof(Side) == sizeof(bf16)) return (const Side*)q;
    for (int r = 0; r < count; ++r)
        for (int i = 0; i < d; i += LANES) store_side(room + r * d + i, load(q + r * stride + i, d - i), d - i);
    stride = d;
    return room;
}

// Attention of one head for rows [row, row + count) of the batch: neighbours in one sequence.
static void attend(const Layer& l, const Batch& b, int head, int row, int count, float* out, long stride) {
    const int d = l.head_dim, panels = (d + PANEL - 1) / PANEL, kv = head / (l.heads / l.kv_heads);
    const long first = b.first[row];
    const int seen = b.slot[row] - first + 1;  // by the first of the rows; each one after it sees one more
    const bf16* keys = b.keys + kv * b.slots * d + first * d;
    const bf16* values = b.values + kv * panels * b.slots * PANEL + first * PANEL;
    constexpr int S = KEYS + LANES;
    alignas(64) float scores[QUERIES * S];
    alignas(64) Side weights[QUERIES * S];
    alignas(64) float sums[QUERIES * 512];
    float top[QUERIES], total[QUERIES];
    alignas(64) Side room[QUERIES * 512];
    long apart = (long)l.heads * d;
    const Side* q = sides(b.queries + row * apart + head * d, apart, count, d, room);
    for (int begin = 0, all_keys = seen + count - 1; begin < all_keys; begin += KEYS) {
        const int n = all_keys - begin < KEYS ? all_keys - begin : KEYS;
        for (int j = 0; j < n; j += PANEL) {
            const int parts = n - j < PANEL ? (n - j + LANES - 1) / LANES : PARTS;
            const bf16* panel = keys + (long)(begin + j) * d;
            const char* ahead = (const char*)(panel + (begin + j + PANEL < all_keys ? PANEL * d : 0));  // the next keys
            tiles(count, [&](int r, auto constant) {
                small_product<decltype(constant)::value>(q + r * apart, apart, panel, ahead, d / 2, parts,
                                                         scores + r * S + j, S, false);
                ahead += d / 2 * 64;
            });
        }
        for (int r = 0; r < count; ++r) {
            float* s = scores + r * S;
            const int mine = seen + r - begin < n ? seen + r - begin : n;  // keys of this stretch that the row sees
            F m = all(-__builtin_inff());
            for (int i = 0; i < mine; i += LANES) {
                if (mine - i < LANES)
                    for (int k = mine - i; k < LANES; ++k) s[i + k] = -__builtin_inff();
                m = max(m, cast<F>(s + i));
            }
            float peak = greatest(m);
            if (begin && top[r] > peak) peak = top[r];
            F t = {};
            int i = 0;
            for (; i < mine; i += LANES) {
                F p = exp2_of_weight(cast<F>(s + i) - peak);
                t += store_side(weights + r * S + i, p);
            }
            for (; i < n; i += LANES) store_side(weights + r * S + i, H{});
            if (begin) {
                const float fade = exp2(all(top[r] - peak))[0];
                total[r] = total[r] * fade + sum(t);
                for (int c = 0; c < panels * PANEL; c += LANES)
                    store(sums + r * 512 + c, cast<F>(sums + r * 512 + c) * fade);
            } else {
                total[r] = sum(t);
            }
            top[r] = peak;
        }
        for (int p = 0; p < panels; ++p) {
            const bf16* panel = values + p * b.slots * PANEL + (long)begin * PANEL;
            const char* ahead = (const char*)(panel + (begin + KEYS < all_keys ? KEYS * PANEL : 0));  // the next values
            tiles(count, [&](int r, auto constant) {
                small_product<decltype(constant)::value>(weights + r * S, S, panel, ahead, (n + 1) / 2, PARTS,
                                                         sums + r * 512 + p * PANEL, 512, begin);
                ahead += KEYS / 2 * 64;
            });
        }
    }
    for (int r = 0; r < count; ++r) {
        const float scale = 1.0f / total[r];
        for (int c = 0; c < d; c += LANES) store(out + r * stride + c, load(sums + r * 512 + c) * scale, d - c);
    }
}

static void attention(bool together, const Layer& l, const Batch& b, int start, int stop, float* out) {
    int bounds[1 << 10][2], pieces = 0;  // tiles of neighbours in one sequence
    const int width = l.heads * l.head_dim;
    auto run = [&] {
        each(together, pieces * l.heads, [&](int i) {
            const int head = i / pieces, *at = bounds[i % pieces];
            attend(l, b, head, at[0], at[1], out + (long)(at[0] - start) * width + head * l.head_dim, width);
        });
        pieces = 0;
    };
    for (int row = start; row < stop;) {
        int count = 1;
        while (count < QUERIES && row + count < stop && b.first[row + count] == b.first[row] &&
               b.slot[row + count] == b.slot[row] + count)
            ++count;
        bounds[pieces][0] = row;
        bounds[pieces++][1] = count;
        row += count;
        if (pieces == 1 << 10) run();
    }
    if (pieces) run();
}

static void project_rows(bool together, const Layer& l, const Batch& b, int start, int stop) {
    const int count = stop - start, wide = up_to(l.qkv.outputs, PANEL);
    Scratch& s = scratch;
    s.reserve(needed(l, count));
    Rows rows = rows_for(l, l.qkv, count, s);
    aim(rows, l.qkv);
    float* qkv = s.take<float>((size_t)count * wide);
    normed(together, l, l.qkv, l.input_norm, b.states + (long)start * l.hidden, count, rows);
    product(together, l.qkv, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < PARTS; ++v)
                memcpy(qkv + (long)(first + r) * wide + panel * PANEL + v * LANES, &sums[r][v], 64);
    });
    each(together, l.kv_heads, [&](int head) { place(l, b, head, start, count, qkv, wide); });
}

// x += product.
INLINE void add_product(bool together, const Matrix& m, const Rows& rows, int count, float* x) {
    product(together, m, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        const int column = panel * PANEL;
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < PARTS && column + v * LANES < m.outputs; ++v) {
                float* y = x + (long)(first + r) * m.outputs + column + v * LANES;
                const int n = m.outputs - column - v * LANES;
                store(y, load(y, n) + sums[r][v], n);
            }
    });
}

static void finish_rows(bool together, const Layer& l, const Batch& b, int start, int stop) {
    const int count = stop - start, attended = l.heads * l.head_dim, wide = up_to(l.intermediate, PANEL / 2);
    float* x = b.states + (long)start * l.hidden;
    Scratch& s = scratch;
    s.reserve(needed(l, count));
    Rows rows = rows_for(l, l.output, count, s);
    float* values = s.take<float>((size_t)count * (attended > wide ? attended : wide));
    attention(together, l, b, start, stop, values);
    aim(rows, l.output);
    each(together && count > 8, count, [&](int r) { take(l.output, rows, r, values + (long)r * attended); });
    add_product(together, l.output, rows, count, x);
    aim(rows, l.gate_up);
    normed(together, l, l.gate_up, l.mlp_norm, x, count, rows);
    product(together, l.gate_up, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < 2; ++v)
                store(values + (long)(first + r) * wide + panel * 32 + v * LANES, silu(sums[r][v]) * sums[r][v + 2]);
    });
    aim(rows, l.down);
    each(together && count > 8, count, [&](int r) { take(l.down, rows, r, values + (long)r * wide); });
    add_product(together, l.down, rows, count, x);
}

// Multiplications that are over before a thread that sleeps is awake.
constexpr int64_t SMALL = 6 << 20;

// Some rows to each thread, or few to all of them; on this thread alone what is small.
template <class G>
INLINE void by_blocks(int64_t multiplications, int start, int stop, G&& f) {
    const bool alone = multiplications < SMALL;
    const int rows = stop - start, n = alone ? 1 : threads();
    if (rows < 48 * n && n > 1) return f(true, start, stop);
    const int64_t blocks = n * ((rows + BLOCK * n - 1) / (BLOCK * n));
    each(!alone, blocks, [&](int i) { f(false, start + rows * i / blocks, start + rows * (i + 1) / blocks); });
}

INLINE int64_t size_of(const Matrix& m) { return (int64_t)m.inputs * m.outputs; }

}  // namespace
