// A product of rows with a packed matrix: `each panel x each tile of rows`, and what is done with the sums.
#pragma once

#include "pool.h"
#include "tiles.h"
#include "types.h"

namespace {

using namespace upsize;

INLINE int up_to(int n, int step) { return (n + step - 1) / step * step; }

// Activations as a product takes them: rows of `stride` Steps (int8) or Sides (bf16).
struct Rows {
    void* values;
    long stride;
    float* scales;  // int8: [rows][groups]
    int32_t* sums;  // int8: [rows][groups], of the quantised values, times -128
    int groups;
};

INLINE int groups_of(const Matrix& m) { return (m.inputs + m.group - 1) / m.group; }

// One row to int8, in groups of `group` values with a scale each. A value that is not
// finite makes its group's scale so, and with it all that is computed from it.
static void quantise(const float* x, int n, int group, Step* values, float* scales, int32_t* sums) {
    for (int start = 0, g = 0; start < n; start += group, ++g) {
        const int count = n - start < group ? n - start : group;
        I top = {};
        for (int i = 0; i < count; i += LANES) top = max(top, bits<I>(load(x + start + i, count - i)) & 0x7fffffff);
        const float peak = bits<float>(int32_t(greatest(top)));
        const bool loud = !(peak < 1e-30f);
        const float inverse = loud ? 127.0f / peak : 0.0f;
        I total = {};
        for (int i = 0; i < count; i += LANES) {
            F rounded = load(x + start + i, count - i) * inverse + 12582912.0f;
            I whole = bits<I>(rounded) - 0x4B400000;
            total += whole;
            put(values + start + i, __builtin_convertvector(whole, Steps), count - i);
        }
        scales[g] = loud ? peak * (1.0f / 127.0f) : 0.0f;
        sums[g] = -128 * sum(total);
    }
    for (int i = n; i % 4; ++i) values[i] = 0;
}

// One row, float32, into row r of what matrix m takes.
INLINE void take(const Matrix& m, const Rows& rows, int r, const float* x) {
    if (m.kind == INT8) {
        quantise(x, m.inputs, m.group, (Step*)rows.values + r * rows.stride, rows.scales + r * rows.groups,
                 rows.sums + r * rows.groups);
    } else {
        Side* y = (Side*)rows.values + r * rows.stride;
        for (int i = 0; i < m.inputs; i += LANES) store_side(y + i, narrow(load(x + i, m.inputs - i)), m.inputs - i);
        if (m.inputs % 2) y[m.inputs] = 0;
    }
}

// Bytes of a panel: 256 for each step of a tile, which takes 4 inputs (int8) or 2 (bf16).
INLINE long panel_bytes(const Matrix& m) { return m.kind == INT8 ? (m.inputs + 3) / 4 * 256L : (m.inputs + 1) / 2 * 256L; }

// f(row, part, sixteen sums) for columns panel * 64 + part * 16 …, scaled. R rows, V parts from part `from` on.
template <int R, int V, class G>
INLINE void tile(const Matrix& m, const Rows& rows, int first, int panel, int from, const char* ahead, int pace,
                 G&& f) {
    const char* start = (const char*)m.panels + panel * panel_bytes(m) + from * 64;
    if (m.kind == INT8) {
        const Step* a = (const Step*)rows.values + first * rows.stride;
        const uint8_t* p = (const uint8_t*)start;
        F total[R][V] = {};
        for (int g = 0; g < rows.groups; ++g) {
            const int begin = g * m.group, end = begin + m.group < m.inputs ? begin + m.group : m.inputs;
            I sums[R][V];
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                I start = alli(rows.sums[(first + r) * rows.groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sums[r][v] = start;
            }
            tile_int8<R, V>(a + begin, rows.stride, p + (long)begin * PANEL, ahead + begin / 4L * pace, pace,
                            (end - begin + 3) / 4, sums);
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                const F scale = all(rows.scales[(first + r) * rows.groups + g]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) {
                    F part = __builtin_convertvector(sums[r][v], F) * scale;
                    total[r][v] += part;
                }
            }
        }
        for (int v = 0; v < V; ++v) {
            const F scale = cast<F>(m.scales + panel * PANEL + (from + v) * LANES);
            for (int r = 0; r < R; ++r) total[r][v] *= scale;
        }
        f(first, from, total);
    } else {
        F sums[R][V] = {};
        tile_bf16<R, V>((const Side*)rows.values + first * rows.stride, rows.stride, (const bf16*)start, ahead,
                        (m.inputs + 1) / 2, sums);
        f(first, from, sums);
    }
}

// f(first row, panel, sums [R][4]) for each tile of the product.
template <class G>
INLINE void product(bool together, const Matrix& m, const Rows& rows, int count, G&& f) {
    const int panels = (m.outputs + PANEL - 1) / PANEL, step = together ? threads() : 1;
    const long bytes = panel_bytes(m);
    const int number = (count + ROWS - 1) / ROWS, parts = m.kind == INT8 && number > 4 ? number : 4, pace = 256 / parts;
    each(together, panels, [&](int panel) {
        // Of this thread's next panel, or this one where there is none, each tile asks for a part.
        const char* next = (const char*)m.panels + (panel + step < panels ? panel + step : panel) * bytes;
        int part = 0;
        tiles(count, [&](int first, auto constant) {
            constexpr int R = decltype(constant)::value;
            const char* ahead = next + part++ % parts * (bytes / 256 * pace);
            F sums[R][PARTS];
            for (int from = 0; from < PARTS; from += VECTORS)
                tile<R, VECTORS>(m, rows, first, panel, from, ahead, pace, [&](int, int, F(&some)[R][VECTORS]) {
                    for (int r = 0; r < R; ++r)
                        for (int v = 0; v < VECTORS; ++v) sums[r][from + v] = some[r][v];
                });
            f(first, panel, sums);
        });
    });
}

}  // namespace
