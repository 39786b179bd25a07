// Micro-kernels: a few rows of activations times one panel of 64 columns, with the sums in registers.
//
// A panel holds the weights of 64 outputs in the order in which the loops read them:
//   int8: [inputs / 4][64][4] bytes, each the weight + 128, because vpdpbusd multiplies unsigned by signed bytes;
//   bf16: [inputs / 2][64][2].
// The sums of a tile do not depend on how many rows it has, so a row's result does not depend on the other rows.
//
// For every 256 bytes of a panel a tile prefetches one cache line at `prefetch_address`, which lies in the next panel.
// The hardware prefetcher starts only when the loop reads the panel's first bytes, which is too late. The int8 tile
// advances the address by `prefetch_stride` bytes a step, so that many tiles share one panel's prefetches: the bytes
// arrive at an even rate, which the memory can sustain.
#pragma once

#include "vectors.h"

namespace {

constexpr int PANEL = 64;
constexpr int PANEL_VECTORS = PANEL / LANES;

#if defined(__AVX512F__)
constexpr int TILE_ROWS = 6, TILE_VECTORS = 4;  // 24 sums, 4 weights, 1 activation: 29 of 32 registers
#elif defined(__AVX2__)
// One vector of the panel at a time: 12 sums of half a vector, 2 weights, 1 activation, 1 intermediate.
constexpr int TILE_ROWS = 6, TILE_VECTORS = 4;
constexpr int CACHED_STEPS = 128;  // steps of a panel, 32 KB, that stay in the L1 cache while all its vectors use them
#else
constexpr int TILE_ROWS = 2, TILE_VECTORS = 1;
#endif

// Activations as the loops read them: already widened to the type that the processor multiplies.
#if defined(__AVX512BF16__)
using Bf16Activation = bf16;
#else
using Bf16Activation = float;  // holds a bf16 value, or an attention weight
#endif
#if defined(__AVX512VNNI__) || !defined(__AVX2__)
using Int8Activation = int8_t;
#else
using Int8Activation = int16_t;  // holds an int8 value
#endif
typedef Int8Activation Int8Activations __attribute__((vector_size(LANES * sizeof(Int8Activation))));

INLINE void store_activation(Bf16Activation* p, U16x16 h, int n = LANES) {
    if constexpr (sizeof(Bf16Activation) == sizeof(bf16)) store_first(p, h, n);
    else store_first(p, to_float(h), n);
}
// Store x, rounded to bf16 where the GEMM multiplies bf16; return the stored values.
INLINE F32x16 store_activation(Bf16Activation* p, F32x16 x) {
    if constexpr (sizeof(Bf16Activation) == sizeof(bf16)) {
        const U16x16 h = to_bf16(x);
        store_first(p, h, LANES);
        return to_float(h);
    } else {
        store_first(p, x, LANES);
        return x;
    }
}

INLINE void prefetch(const char* line) { __builtin_prefetch(line, 0, 2); }

// Inline assembly: with intrinsics gcc 12 moves the sums between registers, or spills them to the stack.
#if defined(__AVX512VNNI__)

INLINE void dot(I32x16& sum, I32x16 weights, I32x16 activations) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(activations));
}

// sums[r][v] += a[r] . panel over 4 x `quads` inputs.
template <int R, int V>
INLINE void tile_int8(const Int8Activation* a, long stride, const uint8_t* panel, const char* prefetch_address,
                      int prefetch_stride, int quads, I32x16 (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4, prefetch_address += prefetch_stride) {
        prefetch(prefetch_address);
        I32x16 w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = cast<I32x16>(panel + v * 64);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            I32x16 x = broadcast_int(cast<int32_t>(a + r * stride));
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) dot(sums[r][v], w[v], x);
        }
    }
}

#elif defined(__AVX2__)

// vpmaddubsw would saturate at 16 bits (255 x 127 x 2), so both operands are widened to 16 bits.
INLINE void dot(__m256i& sum, __m256i weights, __m256i activations) {
    __m256i pairs;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(pairs) : "x"(weights), "x"(activations));
}

// Accumulates eight outputs at a time.
template <int R, int V>
INLINE void tile_int8(const Int8Activation* a, long stride, const uint8_t* panel, const char*, int, int quads,
                      I32x16 (&sums)[R][V]) {
    for (int begin = 0; begin < quads; begin += CACHED_STEPS)
        for (int eight = 0; eight < 2 * V; ++eight) {
            const Int8Activation* x = a + begin * 4;
            const __m128i* p = (const __m128i*)(panel + begin * PANEL * 4L) + 2 * eight;
            __m256i s[R][2];
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) s[r][0] = s[r][1] = _mm256_setzero_si256();
            for (int q = begin; q < quads && q < begin + CACHED_STEPS; ++q, p += PANEL / 4, x += 4) {
                const __m256i w0 = _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
                const __m256i w1 = _mm256_cvtepu8_epi16(_mm_loadu_si128(p + 1));
#pragma GCC unroll 6
                for (int r = 0; r < R; ++r) {
                    const __m256i both = _mm256_set1_epi64x(cast<int64_t>(x + r * stride));
                    dot(s[r][0], w0, both);
                    dot(s[r][1], w1, both);
                }
            }
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                __m256i* sum = (__m256i*)sums[r] + eight;
                *sum = _mm256_add_epi32(*sum, _mm256_permute4x64_epi64(_mm256_hadd_epi32(s[r][0], s[r][1]), 0xd8));
            }
        }
}

#else

template <int R, int V>
INLINE void tile_int8(const Int8Activation* a, long stride, const uint8_t* panel, const char*, int, int quads,
                      I32x16 (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                for (int c = 0; c < LANES; ++c)
                    for (int k = 0; k < 4; ++k)
                        sums[r][v][c] += int32_t(panel[v * 64 + c * 4 + k]) * a[r * stride + k];
}

#endif

// sums[r][v] += a[r] . panel over 2 x `pairs` inputs.
#if defined(__AVX512BF16__)

template <int R, int V>
INLINE void tile_bf16(const Bf16Activation* a, long stride, const bf16* panel, const char* prefetch_address, int pairs,
                      F32x16 (&sums)[R][V]) {
    for (int p = 0; p < pairs; ++p, panel += PANEL * 2, a += 2, prefetch_address += 64) {
        prefetch(prefetch_address);
        I32x16 w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = cast<I32x16>(panel + v * 32);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            I32x16 x = broadcast_int(cast<int32_t>(a + r * stride));
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) asm("vdpbf16ps %2, %1, %0" : "+v"(sums[r][v]) : "v"(w[v]), "v"(x));
        }
    }
}

#else

// One register of sums, and one of the pairs of weights that it accumulates.
#if defined(__AVX2__) && !defined(__AVX512F__)
typedef float FloatRegister __attribute__((vector_size(32), may_alias));
typedef uint32_t PairRegister __attribute__((vector_size(32)));
#else
using FloatRegister = F32x16;
using PairRegister = U32x16;
#endif

INLINE void fma(FloatRegister& sum, FloatRegister w, FloatRegister x) {
#if defined(__AVX2__)
    asm volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
#else
    sum += w * x;
#endif
}

INLINE FloatRegister broadcast_load(const float* x) {
#if defined(__AVX2__)
    FloatRegister y;
    asm volatile("vbroadcastss %1, %0" : "=v"(y) : "m"(*x));
    return y;
#else
    return FloatRegister{} + *x;
#endif
}

// N registers of each row's sums, as many as fit beside the weights.
template <int R, int N>
INLINE void add_pairs(const Bf16Activation* a, long stride, const bf16* panel, const char* prefetch_address, int pairs,
                      FloatRegister* (&sums)[R]) {
    constexpr int WIDTH = sizeof(FloatRegister) / 2;
    FloatRegister s[R][N];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) s[r][n] = sums[r][n];
    for (int p = 0; p < pairs; ++p, panel += PANEL * 2, a += 2, prefetch_address += 64) {
        prefetch(prefetch_address);
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            FloatRegister w[N];
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const PairRegister both = cast<PairRegister>(panel + n * WIDTH);
                w[n] = bits<FloatRegister>(k ? both & 0xffff0000u : both << 16);
            }
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                const FloatRegister x = broadcast_load(a + r * stride + k);
#pragma GCC unroll 4
                for (int n = 0; n < N; ++n) fma(s[r][n], w[n], x);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sums[r][n] = s[r][n];
}

template <int R, int V>
INLINE void tile_bf16(const Bf16Activation* a, long stride, const bf16* panel, const char* prefetch_address, int pairs,
                      F32x16 (&sums)[R][V]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    for (int begin = 0; begin < pairs; begin += CACHED_STEPS)
        for (int v = 0; v < V; ++v) {
            FloatRegister* registers[R];
            for (int r = 0; r < R; ++r) registers[r] = (FloatRegister*)&sums[r][v];
            add_pairs<R, 2>(a + begin * 2, stride, panel + begin * PANEL * 2L + v * 32, prefetch_address + begin * 64L,
                            pairs - begin < CACHED_STEPS ? pairs - begin : CACHED_STEPS, registers);
        }
#else
    FloatRegister* registers[R];
    for (int r = 0; r < R; ++r) registers[r] = sums[r];
    add_pairs<R, V>(a, stride, panel, prefetch_address, pairs, registers);
#endif
}

#endif

// Divide `rows` into tiles of at most TILE_ROWS rows, as even as possible; call f(first row, Constant<rows>) for each.
template <int R>
struct Constant {
    static constexpr int value = R;
};
template <class G>
INLINE void for_each_tile(int rows, G&& f) {
    const int number = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int t = 0, first = 0; t < number; ++t) {
        const int count = (rows - first) / (number - t);
        switch (count) {
            case 1: f(first, Constant<1>()); break;
            case 2: f(first, Constant<2>()); break;
#if defined(__AVX2__)
            case 3: f(first, Constant<3>()); break;
            case 4: f(first, Constant<4>()); break;
            case 5: f(first, Constant<5>()); break;
            case 6: f(first, Constant<6>()); break;
#endif
        }
        first += count;
    }
}

}  // namespace
