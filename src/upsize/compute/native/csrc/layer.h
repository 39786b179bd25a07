// One decoder layer over some rows of a batch. `qkv_forward` computes queries, keys and values; `attn_mlp_forward`
// computes attention and the MLP. Every row's keys must be stored before the second call.
//
// With many rows each thread takes a block of rows through the whole call. With few rows the threads share each GEMM by
// its columns.
#pragma once

#include <atomic>
#include <cstdlib>

#include "gemm.h"

namespace {

// Rows that one thread takes through a layer at once, so that their values stay in its cache.
constexpr int ROW_BLOCK = 96;
// Attention computes QUERY_TILE rows of one sequence together, over KEY_TILE keys at a time.
constexpr int QUERY_TILE = 24, KEY_TILE = 256;

// Buffers of one thread, which it reuses from call to call.
struct Scratch {
    char* memory = nullptr;
    size_t size = 0;
    size_t used = 0;

    ~Scratch() { free(memory); }
    // False where the system has no memory left.
    bool reserve(size_t bytes) {
        if (bytes > size) {
            free(memory);
            size = (bytes + 4095) / 4096 * 4096;
            memory = (char*)aligned_alloc(4096, size);
            if (!memory) size = 0;
        }
        used = 0;
        return memory;
    }
    template <class T>
    T* allocate(size_t count) {
        T* p = (T*)(memory + used);
        used += (count * sizeof(T) + 127) / 64 * 64;
        return p;
    }
};
thread_local Scratch scratch;

INLINE int widest_row(const Layer& l) {
    int attention = l.heads * l.head_dim;
    int w = l.hidden > attention ? l.hidden : attention;
    return w > l.intermediate ? w : l.intermediate;
}

// Whether the scratch memory has room for the activation scales of a matrix.
INLINE bool supported(const PackedMatrix& m) { return m.weight_type == BF16 || m.group >= MIN_GROUP; }

// Whether a layer fits the stack buffers below and the scratch memory.
INLINE bool supported(const Layer& l) {
    return l.hidden <= MAX_HIDDEN && l.head_dim <= MAX_HEAD_DIM && l.qkv.inputs == l.hidden &&
           l.gate_up.inputs == l.hidden && supported(l.qkv) && supported(l.output) && supported(l.gate_up) &&
           supported(l.down);
}

// Bytes of scratch memory that one call needs for `rows` rows.
INLINE size_t scratch_bytes(const Layer& l, int rows) {
    size_t wide = up_to(widest_row(l), PANEL) + PANEL, qkv = up_to(l.qkv.outputs, PANEL) + PANEL;
    size_t row = wide * 4 + (qkv > wide ? qkv : wide) * 4 + wide * sizeof(Bf16Activation) + (wide / MIN_GROUP + 1) * 8;
    return rows * row + (1 << 16);
}

// Room for the activations of any of the layer's GEMMs; `set_groups` selects which one.
INLINE Activations allocate_activations(const Layer& l, int rows, Scratch& s) {
    Activations r;
    r.stride = up_to(widest_row(l), PANEL) + PANEL / 2;  // not a power of two: rows would share cache sets
    r.values = s.allocate<Bf16Activation>(rows * r.stride);
    r.groups = 0;
    r.scales = s.allocate<float>(rows * (widest_row(l) / MIN_GROUP + 1));
    r.sums = s.allocate<int32_t>(rows * (widest_row(l) / MIN_GROUP + 1));
    return r;
}

// Use the activations for the GEMM with matrix m.
INLINE void set_groups(Activations& r, const PackedMatrix& m) { r.groups = m.weight_type == INT8 ? group_count(m) : 1; }

INLINE float inverse_rms(const float* x, int n, float eps) {
    F32x16 squares = {};
    for (int i = 0; i < n; i += LANES) {
        F32x16 v = load(x + i, n - i);
        squares += v * v;
    }
    return 1.0f / __builtin_sqrtf(sum(squares) / n + eps);
}

INLINE void norm_row(const float* x, const float* weight, int n, float eps, float* y) {
    const float scale = inverse_rms(x, n, eps);
    for (int i = 0; i < n; i += LANES) store(y + i, load(x + i, n - i) * scale * load(weight + i, n - i), n - i);
}

// RMSNorm each row of the residual stream, and quantise it for matrix m.
INLINE void norm_and_quantize(bool parallel, const Layer& l, const PackedMatrix& m, const float* weight,
                              const float* x, int rows, const Activations& into) {
    parallel_for(parallel && rows > 8, rows, [&](int r) {
        alignas(64) float y[MAX_HIDDEN];
        norm_row(x + (long)r * l.hidden, weight, l.hidden, l.eps, y);
        quantize_row(m, into, r, y);
    });
}

// RMSNorm of one head, then RoPE over halves of it; y may be x.
INLINE void norm_rope(const float* x, const float* weight, int n, float eps, const float* cos, const float* sin,
                      float factor, float* y) {
    const int half = n / 2;
    const float scale = inverse_rms(x, n, eps) * factor;
    for (int i = 0; i < half; i += LANES) {
        const int k = half - i;
        F32x16 a = load(x + i, k) * load(weight + i, k) * scale;
        F32x16 b = load(x + half + i, k) * load(weight + half + i, k) * scale;
        F32x16 c = load(cos + i, k), s = load(sin + i, k);
        store(y + i, a * c - b * s, k);
        store(y + half + i, b * c + a * s, k);
    }
}

// Norm and rotate one key head of each row and the query heads that share it; store the queries in the batch, and
// scatter keys and values into their panels.
static void rope_and_scatter_kv(const Layer& l, const Batch& b, int head, int start, int count, float* qkv,
                                long stride) {
    const int d = l.head_dim, half = d / 2, panels = (d + PANEL - 1) / PANEL, shared = l.heads / l.kv_heads;
    const float factor = LOG2E / __builtin_sqrtf((float)d);  // the softmax uses powers of two
    for (int row = start; row < start + count; ++row, qkv += stride) {
        const float *cos = b.cos + (long)row * half, *sin = b.sin + (long)row * half;
        for (int h = head * shared; h < (head + 1) * shared; ++h) {
            float* x = qkv + h * d;
            bf16* q = b.queries + ((long)row * l.heads + h) * d;
            norm_rope(x, l.q_norm, d, l.eps, cos, sin, factor, x);
            for (int i = 0; i < d; i += LANES) store_bf16(q + i, load(x + i, d - i), d - i);
        }
        const long slot = b.slot[row];
        alignas(64) bf16 key[MAX_HEAD_DIM];
        float *k = qkv + (l.heads + head) * d, *v = k + l.kv_heads * d;
        norm_rope(k, l.k_norm, d, l.eps, cos, sin, 1.0f, k);
        for (int i = 0; i < d; i += LANES) store_bf16(key + i, load(k + i, d - i));
        bf16* keys = b.keys + head * b.slots * d + slot / PANEL * PANEL * d + slot % PANEL * 2;
        for (int i = 0; i < half; ++i) memcpy(keys + i * PANEL * 2, key + 2 * i, 4);
        bf16* values = b.values + head * panels * b.slots * PANEL + slot / 2 * PANEL * 2 + slot % 2;
        for (int i = 0; i < d; i += LANES)
            store_stride2(values + i / PANEL * b.slots * PANEL + i % PANEL * 2, to_bf16(load(v + i, d - i)), d - i);
    }
}

// Multiply R rows with the first `vectors` x 16 columns of a panel; store the sums in c, or add them to it.
template <int R>
INLINE void attention_gemm(const Bf16Activation* a, long stride, const bf16* panel, const char* prefetch_address,
                           int pairs, int vectors, float* c, long c_stride, bool add) {
    auto columns = [&](int from, auto constant) {
        constexpr int V = decltype(constant)::value;
        F32x16 sums[R][V];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                sums[r][v] = add ? cast<F32x16>(c + r * c_stride + (from + v) * LANES) : F32x16{};
        tile_bf16<R, V>(a, stride, panel + from * 32, prefetch_address, pairs, sums);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) memcpy(c + r * c_stride + (from + v) * LANES, &sums[r][v], 64);
    };
    if (vectors == TILE_VECTORS) return columns(0, Constant<TILE_VECTORS>());
    int v = 0;
    if constexpr (TILE_VECTORS > 2)
        for (; v + 2 <= vectors; v += 2) columns(v, Constant<2>());
    for (; v < vectors; ++v) columns(v, Constant<1>());
}

// One head's queries of consecutive rows as activations: in place, or copied to `widened` with another `stride`.
INLINE const Bf16Activation* attention_queries(const bf16* q, long& stride, int count, int d,
                                               Bf16Activation* widened) {
    if constexpr (sizeof(Bf16Activation) == sizeof(bf16)) return (const Bf16Activation*)q;
    for (int r = 0; r < count; ++r)
        for (int i = 0; i < d; i += LANES)
            store_activation(widened + r * d + i, load(q + r * stride + i, d - i), d - i);
    stride = d;
    return widened;
}

// Attention of one head for rows [row, row + count) of the batch, which are consecutive in one sequence. Online softmax
// (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022): a tile of keys may raise the running maximum, and the
// sums so far are then corrected to the new one.
static void attend_tile(const Layer& l, const Batch& b, int head, int row, int count, float* out, long stride) {
    const int d = l.head_dim, panels = (d + PANEL - 1) / PANEL, kv = head / (l.heads / l.kv_heads);
    const long first = b.first_slot[row];
    const int seen = b.slot[row] - first + 1;  // keys that the first row sees; each row after it sees one more
    const bf16* keys = b.keys + kv * b.slots * d + first * d;
    const bf16* values = b.values + kv * panels * b.slots * PANEL + first * PANEL;
    constexpr int S = KEY_TILE + LANES;
    alignas(64) float scores[QUERY_TILE * S];
    alignas(64) Bf16Activation weights[QUERY_TILE * S];
    alignas(64) float sums[QUERY_TILE * MAX_HEAD_DIM];
    float running_max[QUERY_TILE], total[QUERY_TILE];
    alignas(64) Bf16Activation widened[QUERY_TILE * MAX_HEAD_DIM];
    long q_stride = (long)l.heads * d;
    const Bf16Activation* q = attention_queries(b.queries + row * q_stride + head * d, q_stride, count, d, widened);
    for (int begin = 0, all_keys = seen + count - 1; begin < all_keys; begin += KEY_TILE) {
        const int n = all_keys - begin < KEY_TILE ? all_keys - begin : KEY_TILE;
        for (int j = 0; j < n; j += PANEL) {
            const int vectors = n - j < PANEL ? (n - j + LANES - 1) / LANES : PANEL_VECTORS;
            const bf16* panel = keys + (long)(begin + j) * d;
            const bool last = begin + j + PANEL >= all_keys;
            const char* prefetch_address = (const char*)(panel + (last ? 0 : PANEL * d));
            for_each_tile(count, [&](int r, auto constant) {
                attention_gemm<decltype(constant)::value>(q + r * q_stride, q_stride, panel, prefetch_address, d / 2,
                                                          vectors, scores + r * S + j, S, false);
                prefetch_address += d / 2 * 64;
            });
        }
        for (int r = 0; r < count; ++r) {
            float* s = scores + r * S;
            const int visible = seen + r - begin < n ? seen + r - begin : n;  // keys of this tile that the row sees
            F32x16 m = broadcast(-__builtin_inff());
            for (int i = 0; i < visible; i += LANES) {
                if (visible - i < LANES)
                    for (int k = visible - i; k < LANES; ++k) s[i + k] = -__builtin_inff();
                m = max(m, cast<F32x16>(s + i));
            }
            float new_max = reduce_max(m);
            if (begin && running_max[r] > new_max) new_max = running_max[r];
            F32x16 t = {};
            int i = 0;
            for (; i < visible; i += LANES) {
                F32x16 p = exp2_nonpositive(cast<F32x16>(s + i) - new_max);
                t += store_activation(weights + r * S + i, p);
            }
            for (; i < n; i += LANES) store_activation(weights + r * S + i, U16x16{});
            if (begin) {
                const float correction = exp2(broadcast(running_max[r] - new_max))[0];
                total[r] = total[r] * correction + sum(t);
                for (int c = 0; c < panels * PANEL; c += LANES)
                    store(sums + r * MAX_HEAD_DIM + c, cast<F32x16>(sums + r * MAX_HEAD_DIM + c) * correction);
            } else {
                total[r] = sum(t);
            }
            running_max[r] = new_max;
        }
        for (int p = 0; p < panels; ++p) {
            const bf16* panel = values + p * b.slots * PANEL + (long)begin * PANEL;
            const bool last = begin + KEY_TILE >= all_keys;
            const char* prefetch_address = (const char*)(panel + (last ? 0 : KEY_TILE * PANEL));
            for_each_tile(count, [&](int r, auto constant) {
                attention_gemm<decltype(constant)::value>(weights + r * S, S, panel, prefetch_address, (n + 1) / 2,
                                                          PANEL_VECTORS, sums + r * MAX_HEAD_DIM + p * PANEL,
                                                          MAX_HEAD_DIM, begin);
                prefetch_address += KEY_TILE / 2 * 64;
            });
        }
    }
    for (int r = 0; r < count; ++r) {
        const float scale = 1.0f / total[r];
        for (int c = 0; c < d; c += LANES)
            store(out + r * stride + c, load(sums + r * MAX_HEAD_DIM + c) * scale, d - c);
    }
}

static void attention(bool parallel, const Layer& l, const Batch& b, int start, int stop, float* out) {
    constexpr int MAX_TILES = 1 << 10;
    int bounds[MAX_TILES][2], tiles = 0;  // first row and row count of each tile
    const int width = l.heads * l.head_dim;
    auto run = [&] {
        parallel_for(parallel, tiles * l.heads, [&](int i) {
            const int head = i / tiles, *at = bounds[i % tiles];
            attend_tile(l, b, head, at[0], at[1], out + (long)(at[0] - start) * width + head * l.head_dim, width);
        });
        tiles = 0;
    };
    for (int row = start; row < stop;) {
        int count = 1;
        while (count < QUERY_TILE && row + count < stop && b.first_slot[row + count] == b.first_slot[row] &&
               b.slot[row + count] == b.slot[row] + count)
            ++count;
        bounds[tiles][0] = row;
        bounds[tiles++][1] = count;
        row += count;
        if (tiles == MAX_TILES) run();
    }
    if (tiles) run();
}

// False where the system has no memory left, as below.
static bool qkv_rows(bool parallel, const Layer& l, const Batch& b, int start, int stop) {
    const int count = stop - start, wide = up_to(l.qkv.outputs, PANEL);
    Scratch& s = scratch;
    if (!s.reserve(scratch_bytes(l, count))) return false;
    Activations rows = allocate_activations(l, count, s);
    set_groups(rows, l.qkv);
    float* qkv = s.allocate<float>((size_t)count * wide);
    norm_and_quantize(parallel, l, l.qkv, l.input_norm, b.hidden_states + (long)start * l.hidden, count, rows);
    gemm(parallel, l.qkv, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < PANEL_VECTORS; ++v)
                memcpy(qkv + (long)(first + r) * wide + panel * PANEL + v * LANES, &sums[r][v], 64);
    });
    parallel_for(parallel, l.kv_heads, [&](int head) { rope_and_scatter_kv(l, b, head, start, count, qkv, wide); });
    return true;
}

// x += the GEMM's result.
INLINE void gemm_add(bool parallel, const PackedMatrix& m, const Activations& rows, int count, float* x) {
    gemm(parallel, m, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        const int column = panel * PANEL;
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < PANEL_VECTORS && column + v * LANES < m.outputs; ++v) {
                float* y = x + (long)(first + r) * m.outputs + column + v * LANES;
                const int n = m.outputs - column - v * LANES;
                store(y, load(y, n) + sums[r][v], n);
            }
    });
}

static bool attn_mlp_rows(bool parallel, const Layer& l, const Batch& b, int start, int stop) {
    const int count = stop - start, attended = l.heads * l.head_dim, wide = up_to(l.intermediate, PANEL / 2);
    float* x = b.hidden_states + (long)start * l.hidden;
    Scratch& s = scratch;
    if (!s.reserve(scratch_bytes(l, count))) return false;
    Activations rows = allocate_activations(l, count, s);
    float* values = s.allocate<float>((size_t)count * (attended > wide ? attended : wide));
    attention(parallel, l, b, start, stop, values);
    set_groups(rows, l.output);
    parallel_for(parallel && count > 8, count,
                 [&](int r) { quantize_row(l.output, rows, r, values + (long)r * attended); });
    gemm_add(parallel, l.output, rows, count, x);
    set_groups(rows, l.gate_up);
    norm_and_quantize(parallel, l, l.gate_up, l.mlp_norm, x, count, rows);
    gemm(parallel, l.gate_up, rows, count, [&](int first, int panel, auto& sums) {
        constexpr int R = sizeof(sums) / sizeof(sums[0]);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < 2; ++v)
                store(values + (long)(first + r) * wide + panel * 32 + v * LANES, silu(sums[r][v]) * sums[r][v + 2]);
    });
    set_groups(rows, l.down);
    parallel_for(parallel && count > 8, count, [&](int r) { quantize_row(l.down, rows, r, values + (long)r * wide); });
    gemm_add(parallel, l.down, rows, count, x);
    return true;
}

// A call of fewer multiplications ends before a sleeping thread is awake, so it runs on the caller's thread alone.
constexpr int64_t SERIAL_MULTIPLICATIONS = 6 << 20;

// Divide the rows into blocks, each for one thread: f(false, first row, end). With fewer than 48 rows a thread the
// threads share each GEMM instead: f(true, start, stop). Small work stays on this thread.
template <class G>
INLINE Status for_row_blocks(int64_t multiplications, int start, int stop, G&& f) {
    const bool serial = multiplications < SERIAL_MULTIPLICATIONS;
    const int rows = stop - start, n = serial ? 1 : thread_count();
    if (rows < 48 * n && n > 1) return f(true, start, stop) ? OK : OUT_OF_MEMORY;
    const int64_t blocks = n * ((rows + ROW_BLOCK * n - 1) / (ROW_BLOCK * n));
    std::atomic<bool> failed{false};
    parallel_for(!serial, blocks, [&](int i) {
        if (!f(false, start + rows * i / blocks, start + rows * (i + 1) / blocks)) failed = true;
    });
    return failed ? OUT_OF_MEMORY : OK;
}

INLINE int64_t multiplications_per_row(const PackedMatrix& m) { return (int64_t)m.inputs * m.outputs; }

}  // namespace
