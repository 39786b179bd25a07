// Sixteen values at a time, in the compiler's own vectors: one zmm register, two ymm, or four xmm, by what the file that
// includes this is compiled for.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace {

using bf16 = uint16_t;
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef uint16_t H __attribute__((vector_size(32)));

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

INLINE F all(float x) { return F{} + x; }
INLINE I alli(int32_t x) { return I{} + x; }

// n values, the rest of the lanes 0.
template <class V, class T>
INLINE V get(const T* p, int n) {
    if (n >= LANES) return cast<V>(p);
    V v = {};
    memcpy(&v, p, n * sizeof(T));
    return v;
}
INLINE F load(const float* p, int n = LANES) { return get<F>(p, n); }
INLINE H load(const bf16* p, int n) { return get<H>(p, n); }
// The first n of a vector's values. A copy of a fixed size is one instruction, of any other a call.
template <class V, class T>
INLINE void put(T* p, V v, int n) {
    if (n >= LANES) memcpy(p, &v, sizeof v);
    else memcpy(p, &v, n * sizeof(T));
}
INLINE void store(float* p, F v, int n = LANES) { put(p, v, n); }

INLINE F widen(H h) { return bits<F>(__builtin_convertvector(h, U) << 16); }
INLINE H narrow(F v) {  // to the nearest, ties to even; NaN stays NaN
#if defined(__AVX512BF16__)
    return bits<H>(_mm512_cvtneps_pbh(bits<__m512>(v)));
#else
    U u = bits<U>(v);
    U rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    U nan = (U)((u & 0x7fffffff) > 0x7f800000);
    return __builtin_convertvector((rounded & ~nan) | (0x7fc0 & nan), H);
#endif
}
INLINE void store_bf16(bf16* p, F v, int n = LANES) {
    put(p, narrow(v), n);
}
// To every second place.
INLINE void store_apart(bf16* p, H h, int n) {
#if defined(__AVX512BW__)
    if (n >= LANES) return _mm512_mask_storeu_epi16(p, 0x55555555, _mm512_cvtepu16_epi32(bits<__m256i>(h)));
#endif
    for (int i = 0; i < LANES && i < n; ++i) p[2 * i] = h[i];
}

#if defined(__AVX512F__)

INLINE float sum(F v) { return _mm512_reduce_add_ps(bits<__m512>(v)); }
INLINE int32_t sum(I v) { return _mm512_reduce_add_epi32(bits<__m512i>(v)); }
INLINE float greatest(F v) { return _mm512_reduce_max_ps(bits<__m512>(v)); }
INLINE int32_t greatest(I v) { return _mm512_reduce_max_epi32(bits<__m512i>(v)); }

#else

INLINE float sum(F v) {
    float s[LANES];
    memcpy(s, &v, sizeof v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; ++i) s[i] += s[i + width];
    return s[0];
}
INLINE int32_t sum(I v) {
    int32_t s = 0;
    for (int i = 0; i < LANES; ++i) s += v[i];
    return s;
}
template <class V>
INLINE auto greatest(V v) {
    auto m = v[0];
    for (int i = 1; i < LANES; ++i) m = v[i] > m ? v[i] : m;
    return m;
}

#endif

INLINE F max(F a, F b) { return a > b ? a : b; }
INLINE I max(I a, I b) { return a > b ? a : b; }

// 2^x, to 2 units in the last place; 0 far below, NaN for NaN.
INLINE F exp2(F x) {
    x = x < -126.0f ? all(-127.0f) : x;
    x = x > 127.0f ? all(127.0f) : x;
    const F magic = all(12582912.0f);  // 1.5 x 2^23: adding it rounds to a whole number, which its low bits hold
    F whole = (x + magic) - magic;
    F f = x - whole;
    I n = bits<I>(x + magic) - 0x4B400000;
    F p = all(1.5403530e-4f);
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return p * bits<F>((n + 127) << 23);
}

// 2^x to 2^-18, for x that is at most 0, or NaN: for attention's weights, which go with values of bfloat16.
INLINE F exp2_of_weight(F x) {
#if defined(__AVX512DQ__)
    const F f = bits<F>(_mm512_reduce_ps(bits<__m512>(x), 1));  // x less the whole number below it
    F p = all(1.3534167e-2f);
    p = p * f + 5.2011464e-2f;
    p = p * f + 2.4144275e-1f;
    p = p * f + 6.9300383e-1f;
    p = p * f + 1.0000026f;
    return bits<F>(_mm512_scalef_ps(bits<__m512>(p), bits<__m512>(x)));  // times 2 to the whole number
#else
    return exp2(x);
#endif
}

constexpr float LOG2E = 1.44269504f;

INLINE F silu(F x) { return x / (1.0f + exp2(x * -LOG2E)); }

}  // namespace
