// GEMM: rows of activations times a packed matrix. It visits each panel and each tile of rows, and hands the sums of a
// tile to an epilogue.
#pragma once

#include "pool.h"
#include "tiles.h"
#include "types.h"

namespace {

using namespace upsize;

INLINE int up_to(int n, int step) { return (n + step - 1) / step * step; }

// Rows of activations as the GEMM reads them: `stride` Int8Activations or Bf16Activations a row.
struct Activations {
    void* values;
    long stride;
    float* scales;  // int8: [rows][groups]
    int32_t* sums;  // int8: [rows][groups], the sum of the quantised values times -128
    int groups;
};

INLINE int group_count(const PackedMatrix& m) { return (m.inputs + m.group - 1) / m.group; }

// Quantise one row to int8 with one scale for each group of `group` values. A value that is not finite makes its
// group's scale not finite, and with it every result that uses the row.
static void quantize_row_int8(const float* x, int n, int group, Int8Activation* values, float* scales, int32_t* sums) {
    for (int start = 0, g = 0; start < n; start += group, ++g) {
        const int count = n - start < group ? n - start : group;
        I32x16 magnitudes = {};  // of floats without their sign, which compare like integers
        for (int i = 0; i < count; i += LANES)
            magnitudes = max(magnitudes, bits<I32x16>(load(x + start + i, count - i)) & 0x7fffffff);
        const float largest = bits<float>(int32_t(reduce_max(magnitudes)));
        const bool nonzero = !(largest < 1e-30f);
        const float inverse = nonzero ? 127.0f / largest : 0.0f;
        I32x16 total = {};
        for (int i = 0; i < count; i += LANES) {
            F32x16 rounded = load(x + start + i, count - i) * inverse + ROUND;
            I32x16 whole = bits<I32x16>(rounded) - ROUND_BITS;
            total += whole;
            store_first(values + start + i, __builtin_convertvector(whole, Int8Activations), count - i);
        }
        scales[g] = nonzero ? largest * (1.0f / 127.0f) : 0.0f;
        sums[g] = -128 * sum(total);
    }
    for (int i = n; i % 4; ++i) values[i] = 0;
}

// Convert one float32 row to the activation type of matrix m, into row r.
INLINE void quantize_row(const PackedMatrix& m, const Activations& rows, int r, const float* x) {
    if (m.weight_type == INT8) {
        quantize_row_int8(x, m.inputs, m.group, (Int8Activation*)rows.values + r * rows.stride,
                          rows.scales + r * rows.groups, rows.sums + r * rows.groups);
    } else {
        Bf16Activation* y = (Bf16Activation*)rows.values + r * rows.stride;
        for (int i = 0; i < m.inputs; i += LANES)
            store_activation(y + i, to_bf16(load(x + i, m.inputs - i)), m.inputs - i);
        if (m.inputs % 2) y[m.inputs] = 0;
    }
}

// Bytes of a panel: 256 for each step of a tile, which consumes 4 inputs (int8) or 2 inputs (bf16).
INLINE long panel_bytes(const PackedMatrix& m) {
    return m.weight_type == INT8 ? (m.inputs + 3) / 4 * 256L : (m.inputs + 1) / 2 * 256L;
}

// Multiply R rows with V vectors of a panel's columns, from vector `from` on; call f(scaled sums [R][V]).
template <int R, int V, class G>
INLINE void tile(const PackedMatrix& m, const Activations& rows, int first, int panel, int from,
                 const char* prefetch_address, int prefetch_stride, G&& f) {
    const char* start = (const char*)m.panels + panel * panel_bytes(m) + from * 64;
    if (m.weight_type == INT8) {
        const Int8Activation* a = (const Int8Activation*)rows.values + first * rows.stride;
        const uint8_t* p = (const uint8_t*)start;
        F32x16 total[R][V] = {};
        for (int g = 0; g < rows.groups; ++g) {
            const int begin = g * m.group, end = begin + m.group < m.inputs ? begin + m.group : m.inputs;
            I32x16 sums[R][V];
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                I32x16 start = broadcast_int(rows.sums[(first + r) * rows.groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sums[r][v] = start;
            }
            tile_int8<R, V>(a + begin, rows.stride, p + (long)begin * PANEL,
                            prefetch_address + begin / 4L * prefetch_stride, prefetch_stride, (end - begin + 3) / 4,
                            sums);
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                const F32x16 scale = broadcast(rows.scales[(first + r) * rows.groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) {
                    F32x16 part = __builtin_convertvector(sums[r][v], F32x16) * scale;
                    total[r][v] += part;
                }
            }
        }
        for (int v = 0; v < V; ++v) {
            const F32x16 scale = cast<F32x16>(m.scales + panel * PANEL + (from + v) * LANES);
            for (int r = 0; r < R; ++r) total[r][v] *= scale;
        }
        f(total);
    } else {
        F32x16 sums[R][V] = {};
        tile_bf16<R, V>((const Bf16Activation*)rows.values + first * rows.stride, rows.stride, (const bf16*)start,
                        prefetch_address, (m.inputs + 1) / 2, sums);
        f(sums);
    }
}

// Call the epilogue f(first row, panel, sums [R][PANEL_VECTORS]) for each tile of the GEMM.
template <class G>
INLINE void gemm(bool parallel, const PackedMatrix& m, const Activations& rows, int count, G&& f) {
    const int panels = (m.outputs + PANEL - 1) / PANEL, step = parallel ? thread_count() : 1;
    const long bytes = panel_bytes(m);
    const int row_tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    const int parts = m.weight_type == INT8 && row_tiles > 4 ? row_tiles : 4;
    const int prefetch_stride = 256 / parts;
    parallel_for(parallel, panels, [&](int panel) {
        // Each tile prefetches one part of this thread's next panel, or of this panel where there is no next one.
        const char* next = (const char*)m.panels + (panel + step < panels ? panel + step : panel) * bytes;
        int part = 0;
        for_each_tile(count, [&](int first, auto constant) {
            constexpr int R = decltype(constant)::value;
            const char* prefetch_address = next + part++ % parts * (bytes / 256 * prefetch_stride);
            F32x16 sums[R][PANEL_VECTORS];
            for (int from = 0; from < PANEL_VECTORS; from += TILE_VECTORS)
                tile<R, TILE_VECTORS>(m, rows, first, panel, from, prefetch_address, prefetch_stride,
                                      [&](F32x16(&some)[R][TILE_VECTORS]) {
                    for (int r = 0; r < R; ++r)
                        for (int v = 0; v < TILE_VECTORS; ++v) sums[r][from + v] = some[r][v];
                });
            f(first, panel, sums);
        });
    });
}

}  // namespace
