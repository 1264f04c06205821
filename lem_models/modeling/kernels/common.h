// What the kernels share: vectors of the machine's own width, pointwise functions, products on packed weights.
// Plain C++17 without headers of torch. `T` is float or double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
// The iterations of the loop that follows do not depend on each other (the compiler need not prove it).
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(enable) interleave(enable)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace {

using Index = int64_t;

// ---- vectors of the machine's own width -----------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int BYTES = 64, TILE_ROWS = 8;
#elif defined(__AVX__)
constexpr int BYTES = 32, TILE_ROWS = 6;
#elif defined(__aarch64__)
constexpr int BYTES = 16, TILE_ROWS = 8;
#else
constexpr int BYTES = 16, TILE_ROWS = 4;
#endif

template <class T> struct Vector;
template <> struct Vector<float> { typedef float type __attribute__((vector_size(BYTES), aligned(4), may_alias)); };
template <> struct Vector<double> { typedef double type __attribute__((vector_size(BYTES), aligned(8), may_alias)); };
template <class T> constexpr int LANES = BYTES / sizeof(T);
template <class T> constexpr int PANEL = 2 * LANES<T>;  // columns of a panel: two vectors

// sum + value * w with one rounding where the processor has it. Everywhere else the compiler must not fuse products and
// sums (-ffp-contract=off): which of a * b + c * d it fuses differs between a vector loop and its remainder, and the result
// of a sequence would depend on its place in the batch.
#if defined(__AVX512F__)
INLINE Vector<float>::type fused(float value, Vector<float>::type w, Vector<float>::type sum) {
    return (Vector<float>::type)_mm512_fmadd_ps(_mm512_set1_ps(value), (__m512)w, (__m512)sum);
}
INLINE Vector<double>::type fused(double value, Vector<double>::type w, Vector<double>::type sum) {
    return (Vector<double>::type)_mm512_fmadd_pd(_mm512_set1_pd(value), (__m512d)w, (__m512d)sum);
}
#elif defined(__AVX__) && defined(__FMA__)
INLINE Vector<float>::type fused(float value, Vector<float>::type w, Vector<float>::type sum) {
    return (Vector<float>::type)_mm256_fmadd_ps(_mm256_set1_ps(value), (__m256)w, (__m256)sum);
}
INLINE Vector<double>::type fused(double value, Vector<double>::type w, Vector<double>::type sum) {
    return (Vector<double>::type)_mm256_fmadd_pd(_mm256_set1_pd(value), (__m256d)w, (__m256d)sum);
}
#elif defined(__aarch64__)
INLINE Vector<float>::type fused(float value, Vector<float>::type w, Vector<float>::type sum) {
    return (Vector<float>::type)vfmaq_n_f32((float32x4_t)sum, (float32x4_t)w, value);
}
INLINE Vector<double>::type fused(double value, Vector<double>::type w, Vector<double>::type sum) {
    return (Vector<double>::type)vfmaq_n_f64((float64x2_t)sum, (float64x2_t)w, value);
}
#else
template <class T> INLINE typename Vector<T>::type fused(T value, typename Vector<T>::type w, typename Vector<T>::type sum) {
    return sum + value * w;
}
#endif

template <class T> Index padded(Index n) { return (n + PANEL<T> - 1) / PANEL<T> * PANEL<T>; }

template <class T> T *allocate(Index n) {
    void *memory = nullptr;
    if (posix_memalign(&memory, 64, (n > 0 ? n : 1) * sizeof(T))) return nullptr;
    return static_cast<T *>(memory);
}

// ---- pointwise functions, written so that loops over them vectorise -----------------------------------------------

INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float n = __builtin_rintf(x * 1.44269504088896341f);
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    // Taylor on |r| <= log(2) / 2: the first term left out is below 6e-9.
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float scale;
    __builtin_memcpy(&scale, &bits, 4);
    return p * scale;
}
INLINE double exponential(double x) { return std::exp(x); }

template <class T> INLINE T sigmoid(T x) { return T(1) / (T(1) + exponential(-x)); }

INLINE float hyperbolic(float x) {
    const float s = x * x;
    // Near zero the quotient below loses digits; the series there is exact to the last.
    const float series = x * (1.0f + s * (-1.0f / 3.0f + s * (2.0f / 15.0f + s * (-17.0f / 315.0f + s * (62.0f / 2835.0f)))));
    const float quotient = 1.0f - 2.0f / (1.0f + exponential(2.0f * x));
    return s < 0.0625f ? series : quotient;
}
INLINE double hyperbolic(double x) { return std::tanh(x); }

// ---- products --------------------------------------------------------------------------------------------------------

// Weights [depth, columns] (element (k, n) at k * row_stride + n * column_stride) as panels [columns / PANEL][depth][PANEL].
template <class T> void pack(const T *w, Index depth, Index columns, Index row_stride, Index column_stride, T *out) {
    for (Index first = 0; first < columns; first += PANEL<T>) {
        const Index width = columns - first < PANEL<T> ? columns - first : PANEL<T>;
        for (Index k = 0; k < depth; ++k, out += PANEL<T>) {
            const T *row = w + k * row_stride + first * column_stride;
            for (Index n = 0; n < width; ++n) out[n] = row[n * column_stride];
            for (Index n = width; n < PANEL<T>; ++n) out[n] = T(0);
        }
    }
}

// ROWS rows of a product for one panel (its first VECTORS vectors), kept in registers over the whole depth; added to what is
// there if `add`. The inputs A are of the type T of the sums, or pairs.
template <int ROWS, int VECTORS, class A, class T>
INLINE void block(const A *a, Index lda, const A *panel, Index depth, T *c, Index ldc, bool add) {
    using V = typename Vector<T>::type;
    V sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = V{} ;
    for (Index k = 0; k < depth; ++k, panel += PANEL<A>) {
        typename Vector<A>::type w[VECTORS];
        for (int v = 0; v < VECTORS; ++v) w[v] = *reinterpret_cast<const typename Vector<A>::type *>(panel + v * LANES<A>);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            const A value = a[r * lda + k];
            for (int v = 0; v < VECTORS; ++v) sums[r][v] = fused(value, w[v], sums[r][v]);
        }
    }
    if (add)
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += *reinterpret_cast<const V *>(c + r * ldc + v * LANES<T>);
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) *reinterpret_cast<V *>(c + r * ldc + v * LANES<T>) = sums[r][v];
}

template <int VECTORS, class A, class T>
INLINE void rows_of_panel(const A *a, Index lda, Index rows, const A *panel, Index depth, T *c, Index ldc, bool add = false) {
    for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a += TILE_ROWS * lda, c += TILE_ROWS * ldc)
        block<TILE_ROWS, VECTORS>(a, lda, panel, depth, c, ldc, add);
    for (; rows >= 4; rows -= 4, a += 4 * lda, c += 4 * ldc) block<4, VECTORS>(a, lda, panel, depth, c, ldc, add);
    for (; rows > 0; --rows, a += lda, c += ldc) block<1, VECTORS>(a, lda, panel, depth, c, ldc, add);
}

// One panel of c [rows, ldc] = a [rows, depth] w (added to c if `add`); columns of the panel beyond the matrix are not all written.
template <class A, class T>
INLINE void product_panel(const A *a, Index lda, Index rows, const A *panel, Index depth, Index width, T *c, Index ldc,
                          bool add = false) {
    if (width > LANES<T>) rows_of_panel<2>(a, lda, rows, panel, depth, c, ldc, add);
    else rows_of_panel<1>(a, lda, rows, panel, depth, c, ldc, add);
}

// c [rows, ldc >= padded(columns)] = a [rows, depth] w, w packed; added to c if `add`.
template <class A, class T>
void product(const A *a, Index lda, Index rows, const A *packed, Index depth, Index columns, T *c, Index ldc, bool add = false) {
    for (Index first = 0; first < columns; first += PANEL<A>, packed += depth * PANEL<A>)
        product_panel(a, lda, rows, packed, depth, columns - first, c + first, ldc, add);
}

// ROWS rows of c [columns of a, ldc] += a' b for two vectors of columns, a [depth, lda], b [depth, ldb].
template <int ROWS, class A, class T>
INLINE void outer_block(const A *a, Index lda, const A *b, Index ldb, Index depth, T *c, Index ldc) {
    using V = typename Vector<T>::type;
    using W = typename Vector<A>::type;
    V sums[ROWS][2];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < 2; ++v) sums[r][v] = *reinterpret_cast<const V *>(c + r * ldc + v * LANES<T>);
    for (Index k = 0; k < depth; ++k, a += lda, b += ldb) {
        const W one = *reinterpret_cast<const W *>(b), two = *reinterpret_cast<const W *>(b + LANES<A>);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            sums[r][0] = fused(a[r], one, sums[r][0]);
            sums[r][1] = fused(a[r], two, sums[r][1]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < 2; ++v) *reinterpret_cast<V *>(c + r * ldc + v * LANES<T>) = sums[r][v];
}

// c [rows, ldc] += a' b, the gradient of weights: a [depth, rows], b [depth, columns]; ldb and ldc at least padded(columns).
template <class A, class T>
void outer(const A *a, Index lda, const A *b, Index ldb, Index depth, Index rows, Index columns, T *c, Index ldc) {
    for (Index first = 0; first < columns; first += PANEL<T>) {
        Index j = 0;
        for (; j + TILE_ROWS <= rows; j += TILE_ROWS)
            outer_block<TILE_ROWS>(a + j, lda, b + first, ldb, depth, c + j * ldc + first, ldc);
        for (; j + 4 <= rows; j += 4) outer_block<4>(a + j, lda, b + first, ldb, depth, c + j * ldc + first, ldc);
        for (; j < rows; ++j) outer_block<1>(a + j, lda, b + first, ldb, depth, c + j * ldc + first, ldc);
    }
}

// ---- products of half precision ----------------------------------------------------------------------------------------

// Two numbers in bfloat16 that follow each other along the depth of a product, the first in the lower bits. Processors that
// know them multiply both and add them to a sum in single precision in one step.
struct Pair {
    uint32_t numbers;
};

#if defined(__AVX512F__) && defined(__AVX512BF16__)
template <class T> constexpr bool HAS_PAIRS = std::is_same<T, float>::value;
template <> struct Vector<Pair> { typedef int32_t type __attribute__((vector_size(BYTES), aligned(4), may_alias)); };

INLINE Vector<float>::type fused(Pair value, Vector<Pair>::type w, Vector<float>::type sum) {
    return (Vector<float>::type)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(value.numbers), (__m512bh)w);
}

// Rows [rows, columns] with neighbours in a row as pairs, [rows, ldo]; ldo a multiple of LANES, the last ones are zero.
inline void pair_columns(const float *x, Index ldx, Index rows, Index columns, Pair *out, Index ldo) {
    const auto first = [](Index n) { return __mmask16(n >= 16 ? 0xffff : n > 0 ? (1 << n) - 1 : 0); };
    for (; rows > 0; --rows, x += ldx, out += ldo)
        for (Index k = 0; k < columns; k += 2 * LANES<Pair>) {
            const __m512 low = _mm512_maskz_loadu_ps(first(columns - k), x + k);
            const __m512 high = _mm512_maskz_loadu_ps(first(columns - k - 16), x + k + 16);
            _mm512_storeu_si512(out + k / 2, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
}

// Rows [rows, columns] with neighbours in a column as pairs, [(rows + 1) / 2, columns]; columns a multiple of LANES. In place too.
inline void pair_rows(const float *x, Index rows, Index columns, Pair *out) {
    for (Index k = 0; k < rows; k += 2, out += columns)
        for (Index j = 0; j < columns; j += LANES<Pair>) {
            const float *at = x + k * columns + j;
            const __m512 one = _mm512_loadu_ps(at), two = k + 1 < rows ? _mm512_loadu_ps(at + columns) : _mm512_setzero_ps();
            const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(one));
            const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(two));
            _mm512_storeu_si512(out + j, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
}
#else
template <class T> constexpr bool HAS_PAIRS = false;
#endif

// ---- linear layers of few rows ---------------------------------------------------------------------------------------

// A layer as torch keeps it: w [outputs, inputs], b [outputs] or null.
template <class T> struct Linear {
    const T *w, *b;
};

template <class T> INLINE T dot(const T *a, const T *b, Index n) {
    T sum = T(0);
    for (Index j = 0; j < n; ++j) sum += a[j] * b[j];
    return sum;
}

// out [rows, outputs] of x [rows, inputs]. The weights are read once and not packed: for a few rows.
template <class T>
INLINE void apply(const Linear<T> &layer, const T *x, Index rows, Index inputs, Index outputs, T *out) {
    for (Index j = 0; j < outputs; ++j) {
        const T *w = layer.w + j * inputs, add = layer.b ? layer.b[j] : T(0);
        for (Index r = 0; r < rows; ++r) out[r * outputs + j] = dot(x + r * inputs, w, inputs) + add;
    }
}

}  // namespace
