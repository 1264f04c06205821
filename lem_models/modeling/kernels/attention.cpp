// Causal attention over a window of bars, forward and backward, for CPUs.
//
//     s_j = q k_j / sqrt(size) + b_(t - j),   p = softmax(s),   out = sum_j p_j v_j   over the bars j = t - window + 1 .. t,
//     dp_j = dout v_j,   ds_j = p_j (dp_j - sum(p dp)),   dq = sum_j ds_j k_j / sqrt(size),   dk_j += ds_j q / sqrt(size),
//     dv_j += p_j dout,   db_(t - j) += ds_j.
//
// The keys and values of a sequence's head lie across [size, window - 1 + time], zeros in front of the first bar, so that every
// query reads whole rows of them. Nothing is kept for the backward pass but what it is given.

#include "common.h"

namespace {

struct Shape {
    Index sequences, time, heads, size, window, queries;
    Index hidden() const { return heads * size; }
    Index length() const { return window - 1 + time; }
};

template <class T> using V = typename Vector<T>::type;
template <class T> INLINE V<T> &at(T *x) { return *reinterpret_cast<V<T> *>(x); }
template <class T> INLINE const V<T> &at(const T *x) { return *reinterpret_cast<const V<T> *>(x); }

template <class T> INLINE T total(const V<T> &x) {
    T sum = T(0);
    for (int l = 0; l < LANES<T>; ++l) sum += x[l];
    return sum;
}

// sum_j a_j b_j over a window: whole vectors, then what is left.
template <class T> INLINE T along(const T *a, const T *b, Index window) {
    V<T> sums{};
    Index j = 0;
    for (; j + LANES<T> <= window; j += LANES<T>) sums += at(a + j) * at(b + j);
    T sum = total<T>(sums);
    for (; j < window; ++j) sum += a[j] * b[j];
    return sum;
}

// to_j += factor a_j over a window.
template <class T> INLINE void add(T *to, T factor, const T *a, Index window) {
    Index j = 0;
    for (; j + LANES<T> <= window; j += LANES<T>) at(to + j) = fused(factor, at(a + j), at(to + j));
    for (; j < window; ++j) to[j] += factor * a[j];
}

// to_j = from_j + sum_d x_d rows_d,j over a window; rows `length` apart.
template <class T>
INLINE void combine(T *to, const T *from, const T *x, T scale, const T *rows, Index size, Index length, Index window) {
    Index j = 0;
    for (; j + LANES<T> <= window; j += LANES<T>) {
        V<T> sum = at(from + j);
        for (Index d = 0; d < size; ++d) sum = fused(x[d] * scale, at(rows + d * length + j), sum);
        at(to + j) = sum;
    }
    for (; j < window; ++j) {
        T sum = from[j];
        for (Index d = 0; d < size; ++d) sum += (x[d] * scale) * rows[d * length + j];
        to[j] = sum;
    }
}

// Keys, values and biases of one head of a sequence, and the weights of a query.
template <class T> struct Head {
    T *keys, *values, *bias, *weights, *zeros;

    static Index memory(const Shape &s) { return 2 * s.size * s.length() + 2 * padded<T>(s.window) + s.window; }
    explicit Head(T *memory, const Shape &s)
        : keys(memory), values(keys + s.size * s.length()), bias(values + s.size * s.length()),
          weights(bias + padded<T>(s.window)), zeros(weights + padded<T>(s.window)) {
        for (Index j = 0; memory && j < s.window; ++j) zeros[j] = T(0);
    }

    // Column `part` (0: queries, 1: keys, 2: values) of qkv [sequences, time, 3, heads, size].
    static const T *column(const T *qkv, const Shape &s, Index sequence, Index head, Index part) {
        return qkv + (sequence * s.time * 3 + part) * s.hidden() + head * s.size;
    }
    void read(const T *qkv, const T *distances, const Shape &s, Index sequence, Index head) {
        const T *from[2] = {column(qkv, s, sequence, head, 1), column(qkv, s, sequence, head, 2)};
        T *to[2] = {keys, values};
        for (int part = 0; part < 2; ++part)
            for (Index d = 0; d < s.size; ++d) {
                T *row = to[part] + d * s.length();
                for (Index j = 0; j < s.window - 1; ++j) row[j] = T(0);
                for (Index t = 0; t < s.time; ++t) row[s.window - 1 + t] = from[part][t * 3 * s.hidden() + d];
            }
        for (Index j = 0; j < s.window; ++j) bias[j] = distances[head * s.window + s.window - 1 - j];
    }
    // Weights of the query of bar t, [window]: 0 in front of the first bar.
    INLINE_MEMBER void weigh(const T *query, Index t, T scale, const Shape &s) {
        const Index first = t + 1 < s.window ? s.window - 1 - t : 0, lanes = padded<T>(s.window);
        combine(weights, bias, query, scale, keys + t, s.size, s.length(), s.window);
        for (Index j = 0; j < first; ++j) weights[j] = -T(INFINITY);
        for (Index j = s.window; j < lanes; ++j) weights[j] = -T(INFINITY);
        T top[LANES<T>], most = -T(INFINITY);
        for (int l = 0; l < LANES<T>; ++l) top[l] = -T(INFINITY);
        for (Index j = 0; j < lanes; j += LANES<T>)
            for (int l = 0; l < LANES<T>; ++l) top[l] = weights[j + l] > top[l] ? weights[j + l] : top[l];
        for (int l = 0; l < LANES<T>; ++l) most = top[l] > most ? top[l] : most;
        V<T> sums{};
        for (Index j = 0; j < lanes; j += LANES<T>) {
            T *w = weights + j;
            for (int l = 0; l < LANES<T>; ++l) w[l] = w[l] > -T(INFINITY) ? exponential(w[l] - most) : (w[l] == w[l] ? T(0) : w[l]);
            sums += at(w);
        }
        const T inverse = T(1) / total<T>(sums);
        for (Index j = 0; j < lanes; j += LANES<T>) at(weights + j) *= inverse;
    }
};

// First of the sorted queries that is not before `bar`.
INLINE Index first_from(const Index *queries, Index count, Index bar) {
    Index low = 0, high = count;
    while (low < high) {
        const Index middle = (low + high) / 2;
        if (queries[middle] < bar) low = middle + 1;
        else high = middle;
    }
    return low;
}

template <class T>
int attention_forward(const T *qkv, const T *distances, const Index *queries, T *out, const Shape &s, int threads) {
    const T scale = T(1) / std::sqrt(T(s.size));
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        T *memory = allocate<T>(Head<T>::memory(s));
        if (!memory) failed |= 1;
        Head<T> own(memory, s);
#pragma omp for schedule(dynamic) collapse(2)
        for (Index sequence = 0; sequence < s.sequences; ++sequence)
            for (Index head = 0; head < s.heads; ++head) {
                if (!memory) continue;
                const Index base = sequence * s.time;
                const Index begin = queries ? first_from(queries, s.queries, base) : base;
                const Index end = queries ? first_from(queries, s.queries, base + s.time) : base + s.time;
                if (begin == end) continue;
                own.read(qkv, distances, s, sequence, head);
                for (Index row = begin; row < end; ++row) {
                    const Index t = (queries ? queries[row] : row) - base;
                    own.weigh(Head<T>::column(qkv, s, sequence, head, 0) + t * 3 * s.hidden(), t, scale, s);
                    T *to = out + row * s.hidden() + head * s.size;
                    for (Index d = 0; d < s.size; ++d) to[d] = along(own.weights, own.values + d * s.length() + t, s.window);
                }
            }
        std::free(memory);
    }
    return failed;
}

// dqkv like qkv; dbias [sequences, heads, window], which the caller sums over the sequences.
template <class T>
int attention_backward(const T *grad, const T *qkv, const T *distances, T *dqkv, T *dbias, const Shape &s, int threads) {
    const T scale = T(1) / std::sqrt(T(s.size));
    const Index rows = s.size * s.length();
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        T *memory = allocate<T>(Head<T>::memory(s) + 2 * rows + 2 * s.window);
        if (!memory) failed |= 1;
        Head<T> own(memory, s);
        T *dkeys = memory + Head<T>::memory(s), *dvalues = dkeys + rows, *slopes = dvalues + rows, *sums = slopes + s.window;
#pragma omp for schedule(dynamic) collapse(2)
        for (Index sequence = 0; sequence < s.sequences; ++sequence)
            for (Index head = 0; head < s.heads; ++head) {
                if (!memory) continue;
                own.read(qkv, distances, s, sequence, head);
                std::memset(dkeys, 0, 2 * rows * sizeof(T));
                std::memset(sums, 0, s.window * sizeof(T));
                T *to = dqkv + (Head<T>::column(qkv, s, sequence, head, 0) - qkv);
                for (Index t = 0; t < s.time; ++t) {
                    const T *query = Head<T>::column(qkv, s, sequence, head, 0) + t * 3 * s.hidden();
                    const T *g = grad + (sequence * s.time + t) * s.hidden() + head * s.size;
                    own.weigh(query, t, scale, s);
                    combine(slopes, own.zeros, g, T(1), own.values + t, s.size, s.length(), s.window);
                    const T mean = along(own.weights, slopes, s.window);
                    INDEPENDENT for (Index j = 0; j < s.window; ++j) slopes[j] = own.weights[j] * (slopes[j] - mean);
                    add(sums, T(1), slopes, s.window);
                    for (Index d = 0; d < s.size; ++d) {
                        const Index row = d * s.length() + t;
                        to[t * 3 * s.hidden() + d] = scale * along(slopes, own.keys + row, s.window);
                        add(dkeys + row, query[d] * scale, slopes, s.window);
                        add(dvalues + row, g[d], own.weights, s.window);
                    }
                }
                for (Index t = 0; t < s.time; ++t)
                    for (Index d = 0; d < s.size; ++d) {
                        const Index row = d * s.length() + s.window - 1 + t;
                        to[(t * 3 + 1) * s.hidden() + d] = dkeys[row];
                        to[(t * 3 + 2) * s.hidden() + d] = dvalues[row];
                    }
                T *db = dbias + (sequence * s.heads + head) * s.window;
                for (Index j = 0; j < s.window; ++j) db[s.window - 1 - j] = sums[j];
            }
        std::free(memory);
    }
    return failed;
}

}  // namespace

// `queries` may be null: every bar of every sequence.
#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_attention_forward_##SUFFIX(const T *qkv, const T *distances, const Index *const *queries, T *out,          \
                                       Index sequences, Index time, Index heads, Index size, Index window,             \
                                       Index count, int threads) {                                                     \
        const Shape shape{sequences, time, heads, size, window, count};                                                \
        return attention_forward(qkv, distances, queries ? queries[0] : nullptr, out, shape, threads);                 \
    }                                                                                                                  \
    int lem_attention_backward_##SUFFIX(const T *grad, const T *qkv, const T *distances, T *dqkv, T *dbias,            \
                                        Index sequences, Index time, Index heads, Index size, Index window,            \
                                        int threads) {                                                                 \
        const Shape shape{sequences, time, heads, size, window, sequences * time};                                     \
        return attention_backward(grad, qkv, distances, dqkv, dbias, shape, threads);                                  \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
