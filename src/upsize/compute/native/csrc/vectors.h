// Vectors of sixteen values, in the compiler's own vector types. The file that includes this one decides by its
// compiler flags whether a vector is one zmm register, two ymm registers or four xmm registers.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace {

using bf16 = uint16_t;
typedef float F32x16 __attribute__((vector_size(64)));
typedef int32_t I32x16 __attribute__((vector_size(64)));
typedef uint32_t U32x16 __attribute__((vector_size(64)));
typedef uint16_t U16x16 __attribute__((vector_size(32)));

constexpr int LANES = 16;

template <class T>
INLINE T cast(const void* p) {
    T v;
    memcpy(&v, p, sizeof v);
    return v;
}
template <class T, class S>
INLINE T bits(S s) {
    static_assert(sizeof(T) == sizeof(S), "");
    T t;
    memcpy(&t, &s, sizeof t);
    return t;
}

INLINE F32x16 broadcast(float x) { return F32x16{} + x; }
INLINE I32x16 broadcast_int(int32_t x) { return I32x16{} + x; }

// Load n values; the other lanes are 0.
template <class V, class T>
INLINE V load_first(const T* p, int n) {
    if (n >= LANES) return cast<V>(p);
    V v = {};
    memcpy(&v, p, n * sizeof(T));
    return v;
}
INLINE F32x16 load(const float* p, int n = LANES) { return load_first<F32x16>(p, n); }
INLINE U16x16 load(const bf16* p, int n) { return load_first<U16x16>(p, n); }
// Store the first n lanes. A copy of constant size compiles to one instruction; any other size calls memcpy.
template <class V, class T>
INLINE void store_first(T* p, V v, int n) {
    if (n >= LANES) memcpy(p, &v, sizeof v);
    else memcpy(p, &v, n * sizeof(T));
}
INLINE void store(float* p, F32x16 v, int n = LANES) { store_first(p, v, n); }

INLINE F32x16 to_float(U16x16 h) { return bits<F32x16>(__builtin_convertvector(h, U32x16) << 16); }
INLINE U16x16 to_bf16(F32x16 v) {  // round to nearest, ties to even; NaN stays NaN
#if defined(__AVX512BF16__)
    return bits<U16x16>(_mm512_cvtneps_pbh(bits<__m512>(v)));
#else
    U32x16 u = bits<U32x16>(v);
    U32x16 rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    U32x16 nan = (U32x16)((u & 0x7fffffff) > 0x7f800000);
    return __builtin_convertvector((rounded & ~nan) | (0x7fc0 & nan), U16x16);
#endif
}
INLINE void store_bf16(bf16* p, F32x16 v, int n = LANES) {
    store_first(p, to_bf16(v), n);
}
// Store the first n lanes at stride 2.
INLINE void store_stride2(bf16* p, U16x16 h, int n) {
#if defined(__AVX512BW__)
    if (n >= LANES) return _mm512_mask_storeu_epi16(p, 0x55555555, _mm512_cvtepu16_epi32(bits<__m256i>(h)));
#endif
    for (int i = 0; i < LANES && i < n; ++i) p[2 * i] = h[i];
}

#if defined(__AVX512F__)

INLINE float sum(F32x16 v) { return _mm512_reduce_add_ps(bits<__m512>(v)); }
INLINE int32_t sum(I32x16 v) { return _mm512_reduce_add_epi32(bits<__m512i>(v)); }
INLINE float reduce_max(F32x16 v) { return _mm512_reduce_max_ps(bits<__m512>(v)); }
INLINE int32_t reduce_max(I32x16 v) { return _mm512_reduce_max_epi32(bits<__m512i>(v)); }

#else

INLINE float sum(F32x16 v) {
    float s[LANES];
    memcpy(s, &v, sizeof v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; ++i) s[i] += s[i + width];
    return s[0];
}
INLINE int32_t sum(I32x16 v) {
    int32_t s = 0;
    for (int i = 0; i < LANES; ++i) s += v[i];
    return s;
}
template <class V>
INLINE auto reduce_max(V v) {
    auto m = v[0];
    for (int i = 1; i < LANES; ++i) m = v[i] > m ? v[i] : m;
    return m;
}

#endif

INLINE F32x16 max(F32x16 a, F32x16 b) { return a > b ? a : b; }
INLINE I32x16 max(I32x16 a, I32x16 b) { return a > b ? a : b; }

// Rounding by addition: a float near 1.5 x 2^23 has a unit in the last place of 1, so x + ROUND is x rounded to an
// integer, and the low bits of the sum less ROUND_BITS are that integer.
constexpr float ROUND = 12582912.0f;
constexpr int32_t ROUND_BITS = 0x4B400000;

// 2^x, within 2 units in the last place. Results below the normal range are 0; NaN gives NaN.
// x = n + f with an integer n and |f| <= 0.5. The polynomial is the Taylor series of 2^f: its coefficients are
// ln(2)^k / k! for k = 6 … 0, and its remainder is below (0.5 ln 2)^7 / 7! x 1.04 = 1.3e-7.
INLINE F32x16 exp2(F32x16 x) {
    x = x < -126.0f ? broadcast(-127.0f) : x;
    x = x > 127.0f ? broadcast(127.0f) : x;
    const F32x16 magic = broadcast(ROUND);
    F32x16 whole = (x + magic) - magic;
    F32x16 f = x - whole;
    I32x16 n = bits<I32x16>(x + magic) - ROUND_BITS;
    F32x16 p = broadcast(1.5403530e-4f);
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return p * bits<F32x16>((n + 127) << 23);
}

// 2^x with a relative error below 2^-18, for x <= 0 or NaN. Attention weights need no more: they multiply bf16 values.
// The coefficients are the minimax polynomial of degree 4 for 2^f on [0, 1), relative error 2.6e-6 (Remez exchange).
INLINE F32x16 exp2_nonpositive(F32x16 x) {
#if defined(__AVX512DQ__)
    const F32x16 f = bits<F32x16>(_mm512_reduce_ps(bits<__m512>(x), 1));  // x - floor(x)
    F32x16 p = broadcast(1.3534167e-2f);
    p = p * f + 5.2011464e-2f;
    p = p * f + 2.4144275e-1f;
    p = p * f + 6.9300383e-1f;
    p = p * f + 1.0000026f;
    return bits<F32x16>(_mm512_scalef_ps(bits<__m512>(p), bits<__m512>(x)));  // p x 2^floor(x)
#else
    return exp2(x);
#endif
}

constexpr float LOG2E = 1.44269504f;

INLINE F32x16 silu(F32x16 x) { return x / (1.0f + exp2(x * -LOG2E)); }

}  // namespace
