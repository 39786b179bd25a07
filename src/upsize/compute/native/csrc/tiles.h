// The innermost loops: a few rows of activations times one panel of 64 columns, sums kept in registers.
//
// A panel holds the weights of 64 outputs in the order in which they are used:
//   int8: [inputs / 4][64][4] bytes, each the weight + 128, for vpdpbusd multiplies unsigned by signed;
//   bf16: [inputs / 2][64][2].
// The sums of a tile do not depend on how many rows it has, so a row's result does not depend on its neighbours.
// With each 256 bytes of a panel a tile asks for a cache line of what comes next, `ahead`: the processor's own
// prefetching would begin with a panel's first bytes, when it is too late for them. int8 goes on by `pace` bytes each
// time, so that many tiles share the asking: bytes come at an even rate, which memory can keep.
#pragma once

#include "vectors.h"

namespace {

constexpr int PANEL = 64;
constexpr int PARTS = PANEL / LANES;

#if defined(__AVX512F__)
constexpr int ROWS = 6, VECTORS = 4;  // 24 sums, 4 weights, 1 activation: 29 of 32 registers
#elif defined(__AVX2__)
// A part at a time: 12 sums of half a vector, 2 weights, 1 activation, 1 product.
constexpr int ROWS = 6, VECTORS = 4;
constexpr int STEPS = 128;  // of a panel that stay in the nearest cache for all its parts: 32 KB
#else
constexpr int ROWS = 2, VECTORS = 1;
#endif

// Activations as the loops take them: widened beforehand to what the processor multiplies.
#if defined(__AVX512BF16__)
using Side = bf16;
#else
using Side = float;  // of a bf16's value, or one of attention's weights
#endif
#if defined(__AVX512VNNI__) || !defined(__AVX2__)
using Step = int8_t;
#else
using Step = int16_t;  // of an int8's value
#endif
typedef Step Steps __attribute__((vector_size(LANES * sizeof(Step))));

INLINE void store_side(Side* p, H h, int n = LANES) {
    if constexpr (sizeof(Side) == sizeof(bf16)) put(p, h, n);
    else put(p, widen(h), n);
}
// Rounded if a product wants it so; returns what was stored.
INLINE F store_side(Side* p, F x) {
    if constexpr (sizeof(Side) == sizeof(bf16)) {
        const H h = narrow(x);
        put(p, h, LANES);
        return widen(h);
    } else {
        put(p, x, LANES);
        return x;
    }
}

INLINE void soon(const char* line) { __builtin_prefetch(line, 0, 2); }

// gcc 12 moves sums to and fro, or to the stack, unless instructions are written as what they are.
#if defined(__AVX512VNNI__)

INLINE void dot(I& sum, I weights, I activations) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(activations));
}

// sums[r][v] += a[r] . panel, over `quads` x 4 inputs.
template <int R, int V>
INLINE void tile_int8(const Step* a, long stride, const uint8_t* panel, const char* ahead, int pace, int quads,
                      I (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4, ahead += pace) {
        soon(ahead);
        I w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = cast<I>(panel + v * 64);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            I x = alli(cast<int32_t>(a + r * stride));
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) dot(sums[r][v], w[v], x);
        }
    }
}

#elif defined(__AVX2__)

// vpmaddubsw would saturate (255 x 127 x 2), so both sides are of 16 bits.
INLINE void dot(__m256i& sum, __m256i weights, __m256i activations) {
    __m256i pairs;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(pairs) : "x"(weights), "x"(activations));
}

// Eight outputs at a time.
template <int R, int V>
INLINE void tile_int8(const Step* a, long stride, const uint8_t* panel, const char*, int, int quads, I (&sums)[R][V]) {
    for (int begin = 0; begin < quads; begin += STEPS)
        for (int eight = 0; eight < 2 * V; ++eight) {
            const Step* x = a + begin * 4;
            const __m128i* p = (const __m128i*)(panel + begin * PANEL * 4L) + 2 * eight;
            __m256i s[R][2];
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) s[r][0] = s[r][1] = _mm256_setzero_si256();
            for (int q = begin; q < quads && q < begin + STEPS; ++q, p += PANEL / 4, x += 4) {
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
INLINE void tile_int8(const Step* a, long stride, const uint8_t* panel, const char*, int, int quads, I (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                for (int c = 0; c < LANES; ++c)
                    for (int k = 0; k < 4; ++k)
                        sums[r][v][c] += int32_t(panel[v * 64 + c * 4 + k]) * a[r * stride + k];
}

#endif

// sums[r][v] += a[r] . panel, over `pairs` x 2 inputs.
#if defined(__AVX512BF16__)

template <int R, int V>
INLINE void tile_bf16(const Side* a, long stride, const bf16* panel, const char* ahead, int pairs, F (&sums)[R][V]) {
    for (int p = 0; p < pairs; ++p, panel += PANEL * 2, a += 2, ahead += 64) {
        soon(ahead);
        I w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = cast<I>(panel + v * 32);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            I x = alli(cast<int32_t>(a + r * stride));
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) asm("vdpbf16ps %2, %1, %0" : "+v"(sums[r][v]) : "v"(w[v]), "v"(x));
        }
    }
}

#else

// A register of sums, and of the pairs of weights that go with it.
#if defined(__AVX2__) && !defined(__AVX512F__)
typedef float Part __attribute__((vector_size(32), may_alias));
typedef uint32_t Pairs __attribute__((vector_size(32)));
#else
using Part = F;
using Pairs = U;
#endif

INLINE void fma(Part& sum, Part w, Part x) {
#if defined(__AVX2__)
    asm volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
#else
    sum += w * x;
#endif
}

INLINE Part broadcast(const float* x) {
#if defined(__AVX2__)
    Part y;
    asm volatile("vbroadcastss %1, %0" : "=v"(y) : "m"(*x));
    return y;
#else
    return Part{} + *x;
#endif
}

// As many parts as there are registers for.
template <int R, int N>
INLINE void add_pairs(const Side* a, long stride, const bf16* panel, const char* ahead, int pairs, Part* (&sums)[R]) {
    constexpr int WIDTH = sizeof(Part) / 2;
    Part s[R][N];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) s[r][n] = sums[r][n];
    for (int p = 0; p < pairs; ++p, panel += PANEL * 2, a += 2, ahead += 64) {
        soon(ahead);
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            Part w[N];
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const Pairs both = cast<Pairs>(panel + n * WIDTH);
                w[n] = bits<Part>(k ? both & 0xffff0000u : both << 16);
            }
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                const Part x = broadcast(a + r * stride + k);
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
INLINE void tile_bf16(const Side* a, long stride, const bf16* panel, const char* ahead, int pairs, F (&sums)[R][V]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    for (int begin = 0; begin < pairs; begin += STEPS)
        for (int v = 0; v < V; ++v) {
            Part* parts[R];
            for (int r = 0; r < R; ++r) parts[r] = (Part*)&sums[r][v];
            add_pairs<R, 2>(a + begin * 2, stride, panel + begin * PANEL * 2L + v * 32, ahead + begin * 64L,
                            pairs - begin < STEPS ? pairs - begin : STEPS, parts);
        }
#else
    Part* parts[R];
    for (int r = 0; r < R; ++r) parts[r] = sums[r];
    add_pairs<R, V>(a, stride, panel, ahead, pairs, parts);
#endif
}

#endif

// Cut `rows` into tiles of at most ROWS, as even as can be, and call f(first, a constant of the count) for each.
template <int R>
struct Count {
    static constexpr int value = R;
};
template <class G>
INLINE void tiles(int rows, G&& f) {
    const int number = (rows + ROWS - 1) / ROWS;
    for (int t = 0, first = 0; t < number; ++t) {
        const int count = (rows - first) / (number - t);
        switch (count) {
            case 1: f(first, Count<1>()); break;
            case 2: f(first, Count<2>()); break;
#if defined(__AVX2__)
            case 3: f(first, Count<3>()); break;
            case 4: f(first, Count<4>()); break;
            case 5: f(first, Count<5>()); break;
            case 6: f(first, Count<6>()); break;
#endif
        }
        first += count;
    }
}

}  // namespace
