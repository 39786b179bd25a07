// The innermost loops: a few rows of activations times one panel of 64 columns, sums kept in registers.
//
// A panel holds the weights of 64 outputs in the order in which they are used:
//   int8: [inputs / 4][64][4] bytes, each the weight + 128, for vpdpbusd multiplies unsigned by signed;
//   bf16: [inputs / 2][64][2].
// The sums of a tile do not depend on how many rows it has, so a row's result does not depend on its neighbours.
// With each 256 bytes of a panel a tile asks for one cache line of what comes next, `ahead`: the processor's own
// prefetching would begin with a panel's first bytes, when it is too late for them.
#pragma once

#include "vectors.h"

namespace {

constexpr int PANEL = 64;
constexpr int PARTS = PANEL / LANES;

#if defined(__AVX512F__)
constexpr int ROWS = 6, VECTORS = 4;  // 24 sums, 4 weights, 1 activation: 29 of 32 registers
#else
constexpr int ROWS = 2, VECTORS = 1;
#endif

INLINE void soon(const char* line) { __builtin_prefetch(line, 0, 2); }

#if defined(__AVX512VNNI__)

// gcc 12 moves the sums to the stack unless the instruction is written as what it is.
INLINE void dot(I& sum, I weights, I activations) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(activations));
}

// sums[r][v] += a[r] . panel, over `quads` x 4 inputs.
template <int R, int V>
INLINE void tile_int8(const int8_t* a, long stride, const uint8_t* panel, const char* ahead, int quads,
                      I (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4, ahead += 64) {
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

// vpmaddubsw would saturate (255 x 127 x 2), so both sides are widened to 16 bits first.
template <int R, int V>
INLINE void tile_int8(const int8_t* a, long stride, const uint8_t* panel, const char*, int quads, I (&sums)[R][V]) {
    static_assert(V == 1, "");
    __m256i s[R][4];
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < 4; ++i) s[r][i] = _mm256_setzero_si256();
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4) {
        __m256i x[R];
        for (int r = 0; r < R; ++r)
            x[r] = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(cast<int32_t>(a + r * stride))));
        for (int i = 0; i < 4; ++i) {
            __m256i w = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)(panel + i * 16)));
            for (int r = 0; r < R; ++r) s[r][i] = _mm256_add_epi32(s[r][i], _mm256_madd_epi16(w, x[r]));
        }
    }
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < 4; ++i)
            for (int c = 0; c < 4; ++c)
                sums[r][0][i * 4 + c] += ((__v8si)s[r][i])[2 * c] + ((__v8si)s[r][i])[2 * c + 1];
}

#else

template <int R, int V>
INLINE void tile_int8(const int8_t* a, long stride, const uint8_t* panel, const char*, int quads, I (&sums)[R][V]) {
    for (int q = 0; q < quads; ++q, panel += PANEL * 4, a += 4)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                for (int c = 0; c < LANES; ++c)
                    for (int k = 0; k < 4; ++k)
                        sums[r][v][c] += int32_t(panel[v * 64 + c * 4 + k]) * a[r * stride + k];
}

#endif

// sums[r][v] += a[r] . panel, over `pairs` x 2 inputs.
template <int R, int V>
INLINE void tile_bf16(const bf16* a, long stride, const bf16* panel, const char* ahead, int pairs, F (&sums)[R][V]) {
    for (int p = 0; p < pairs; ++p, panel += PANEL * 2, a += 2, ahead += 64) {
        soon(ahead);
#if defined(__AVX512BF16__)
        I w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = cast<I>(panel + v * 32);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            I x = alli(cast<int32_t>(a + r * stride));
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) asm("vdpbf16ps %2, %1, %0" : "+v"(sums[r][v]) : "v"(w[v]), "v"(x));
        }
#else
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            U w = cast<U>(panel + v * 32);
            F low = bits<F>(w << 16), high = bits<F>(w & 0xffff0000u);
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                uint32_t x = cast<uint32_t>(a + r * stride);
                sums[r][v] += low * bits<float>(x << 16) + high * bits<float>(x & 0xffff0000u);
            }
        }
#endif
    }
}

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
#if defined(__AVX512F__)
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
