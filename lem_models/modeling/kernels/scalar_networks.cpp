// The weighted sum of one small gated residual network per scalar input, forward and backward, for CPUs: variable selection.
//
//     e = elu(x a + b),   z = e G + g,   r = x s + t + z_1 sigmoid(z_2),   n = (r - mean) / deviation,   out = sum_i w_i c_i n_i
//
// x and w are scalars of a token and an input i; a, b, s, t, c [width], G [width, 2 width] and g [2 width] belong to the input.
// The networks are tiny, so everything stays in registers and the first cache. A tile of tokens lies across the lanes of the
// vectors, one row per feature; a product with G multiplies rows by numbers. Nothing is kept for the backward pass: it
// computes the tile again.
//     dn = w c dout,   dr = (dn - mean(dn) - n mean(dn n)) / deviation,   dz_1 = dr sigmoid(z_2),   dz_2 = dr z_1 sigmoid'(z_2),
//     de = dz G',   dp = de elu'(p) with p = x a + b,   dx = sum(dr s + dp a),   dw = sum(dout c n).
//
// Arrays are contiguous: x, w [tokens, inputs], out [tokens, width], parameters [inputs, ...].

#include "common.h"

namespace {

template <class T> INLINE T sum_of(const T *x) {
    T sum = T(0);
    for (int l = 0; l < PANEL<T>; ++l) sum += x[l];
    return sum;
}

// Parameters of one input.
template <class T> struct Network {
    const T *a, *b, *s, *t, *c, *gate_transposed, *g;
};

// Rows of a tile, [.., PANEL].
template <class T> struct Tile {
    T *e, *z, *r;  // [width], [2 width], [width]; r becomes n
    T mean[PANEL<T>], inverse[PANEL<T>];
};

// The network of one input on a tile of tokens: e, z (with its bias, the second half through the sigmoid), n.
template <class T> INLINE void evaluate(const T *__restrict x, const Network<T> &net, Index width, T eps, Tile<T> &tile) {
    constexpr int P = PANEL<T>;
    for (Index j = 0; j < width; ++j) {
        T *__restrict e = tile.e + j * P;
        const T a = net.a[j], b = net.b[j];
        for (int l = 0; l < P; ++l) {
            const T p = x[l] * a + b;
            e[l] = p > T(0) ? p : exponential(p) - T(1);
        }
    }
    rows_of_panel<2>(net.gate_transposed, width, 2 * width, tile.e, width, tile.z, P);
    T sum[P], squares[P];
    for (int l = 0; l < P; ++l) sum[l] = squares[l] = T(0);
    for (Index j = 0; j < width; ++j) {
        T *__restrict linear = tile.z + j * P, *__restrict open = tile.z + (width + j) * P, *__restrict r = tile.r + j * P;
        const T g = net.g[j], h = net.g[width + j], s = net.s[j], t = net.t[j];
        for (int l = 0; l < P; ++l) {
            linear[l] += g;
            open[l] = sigmoid(open[l] + h);
            r[l] = x[l] * s + t + linear[l] * open[l];
            sum[l] += r[l];
        }
    }
    for (int l = 0; l < P; ++l) tile.mean[l] = sum[l] / T(width);
    for (Index j = 0; j < width; ++j) {
        T *__restrict r = tile.r + j * P;
        for (int l = 0; l < P; ++l) {
            r[l] -= tile.mean[l];
            squares[l] += r[l] * r[l];
        }
    }
    for (int l = 0; l < P; ++l) tile.inverse[l] = T(1) / std::sqrt(squares[l] / T(width) + eps);
    for (Index j = 0; j < width; ++j) {
        T *__restrict r = tile.r + j * P;
        for (int l = 0; l < P; ++l) r[l] *= tile.inverse[l];
    }
}

// [count, columns] of tokens to rows [columns, PANEL], zeros where there is no token, and back.
template <class T> void to_rows(const T *tokens, Index count, Index columns, T *rows) {
    for (Index k = 0; k < columns; ++k)
        for (Index l = 0; l < PANEL<T>; ++l) rows[k * PANEL<T> + l] = l < count ? tokens[l * columns + k] : T(0);
}
template <class T> void to_tokens(const T *rows, Index count, Index columns, T *tokens) {
    for (Index l = 0; l < count; ++l)
        for (Index k = 0; k < columns; ++k) tokens[l * columns + k] = rows[k * PANEL<T> + l];
}

template <class T>
int networks_forward(const T *x, const T *w, const T *a, const T *b, const T *s, const T *t, const T *c,
                     const T *gate_transposed, const T *g, T *out, Index tokens, Index inputs, Index width, double eps,
                     int threads) {
    constexpr int P = PANEL<T>;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        T *memory = allocate<T>((2 * inputs + 5 * width) * P);
        if (!memory) failed |= 1;
        T *xs = memory, *ws = xs + inputs * P, *sums = ws + inputs * P;
        Tile<T> tile;
        tile.e = sums + width * P, tile.z = tile.e + width * P, tile.r = tile.z + 2 * width * P;
#pragma omp for schedule(static)
        for (Index first = 0; first < tokens; first += P) {
            if (!memory) continue;
            const Index count = tokens - first < P ? tokens - first : P;
            to_rows(x + first * inputs, count, inputs, xs);
            to_rows(w + first * inputs, count, inputs, ws);
            std::memset(sums, 0, width * P * sizeof(T));
            for (Index i = 0; i < inputs; ++i) {
                const Index at = i * width;
                const Network<T> net{a + at, b + at, s + at, t + at, c + at, gate_transposed + 2 * at * width, g + 2 * at};
                evaluate(xs + i * P, net, width, T(eps), tile);
                const T *__restrict weight = ws + i * P;
                for (Index j = 0; j < width; ++j) {
                    T *__restrict sum = sums + j * P;
                    const T *__restrict n = tile.r + j * P;
                    const T scale = net.c[j];
                    for (int l = 0; l < P; ++l) sum[l] += weight[l] * scale * n[l];
                }
            }
            to_tokens(sums, count, width, out + first * width);
        }
        std::free(memory);
    }
    return failed;
}

// Gradients of the parameters, all of one thread: [inputs, 5 width + 2 width + 2 width^2] in the order a, b, s, t, c, g, G.
template <class T>
int networks_backward(const T *grad_out, const T *x, const T *w, const T *a, const T *b, const T *s, const T *t, const T *c,
                      const T *gate, const T *gate_transposed, const T *g, T *dx, T *dw, T *dparameters, Index tokens,
                      Index inputs, Index width, double eps, int threads) {
    constexpr int P = PANEL<T>;
    const Index size = inputs * (7 * width + 2 * width * width);
    const Index columns = padded<T>(2 * width);
    T *all = allocate<T>(threads * size);
    if (!all) return 1;
    std::memset(all, 0, threads * size * sizeof(T));
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (int thread = 0; thread < threads; ++thread) {
        const Index tiles = (tokens + P - 1) / P;
        const Index begin = tiles * thread / threads, end = tiles * (thread + 1) / threads;
        T *memory = allocate<T>((4 * inputs + 7 * width) * P + P * columns + width * columns);
        if (!memory) { failed |= 1; continue; }
        T *xs = memory, *ws = xs + inputs * P, *dxs = ws + inputs * P, *dws = dxs + inputs * P, *grads = dws + inputs * P;
        T *de = grads + width * P, *turned = de + width * P, *product_of = turned + P * columns;
        Tile<T> tile;
        tile.e = product_of + width * columns, tile.z = tile.e + width * P, tile.r = tile.z + 2 * width * P;
        std::memset(turned, 0, P * columns * sizeof(T));
        for (Index number = begin; number < end; ++number) {
            const Index first = number * P, count = tokens - first < P ? tokens - first : P;
            to_rows(x + first * inputs, count, inputs, xs);
            to_rows(w + first * inputs, count, inputs, ws);
            to_rows(grad_out + first * width, count, width, grads);
            for (Index i = 0; i < inputs; ++i) {
                const Index at = i * width;
                const Network<T> net{a + at, b + at, s + at, t + at, c + at, gate_transposed + 2 * at * width, g + 2 * at};
                T *da = all + thread * size + i * (7 * width + 2 * width * width), *db = da + width, *ds = db + width;
                T *dt = ds + width, *dc = dt + width, *dg = dc + width, *dgate = dg + 2 * width;
                const T *__restrict value = xs + i * P, *__restrict weight = ws + i * P;
                evaluate(value, net, width, T(eps), tile);
                T sum[P], along[P], to_x[P];
                for (int l = 0; l < P; ++l) sum[l] = along[l] = to_x[l] = T(0);
                for (Index j = 0; j < width; ++j) {
                    const T *__restrict n = tile.r + j * P, *__restrict grad = grads + j * P;
                    const T scale = net.c[j];
                    T to_c = T(0);
                    for (int l = 0; l < P; ++l) {
                        const T d = grad[l] * scale;
                        sum[l] += d;
                        along[l] += d * n[l];
                        to_c += grad[l] * weight[l] * n[l];
                    }
                    dc[j] += to_c;
                }
                for (int l = 0; l < P; ++l) {
                    dws[i * P + l] = along[l];
                    sum[l] *= weight[l] / T(width);
                    along[l] *= weight[l] / T(width);
                }
                for (Index j = 0; j < width; ++j) {
                    const T *__restrict n = tile.r + j * P, *__restrict grad = grads + j * P;
                    T *__restrict linear = tile.z + j * P, *__restrict open = tile.z + (width + j) * P;
                    const T scale = net.c[j], skip = net.s[j];
                    T to_s = T(0), to_t = T(0), to_g = T(0), to_h = T(0);
                    for (int l = 0; l < P; ++l) {
                        const T dr = tile.inverse[l] * (weight[l] * scale * grad[l] - sum[l] - n[l] * along[l]);
                        to_s += dr * value[l];
                        to_t += dr;
                        to_x[l] += dr * skip;
                        const T d_open = dr * linear[l] * open[l] * (T(1) - open[l]);
                        linear[l] = dr * open[l];
                        open[l] = d_open;
                        to_g += linear[l];
                        to_h += d_open;
                    }
                    ds[j] += to_s;
                    dt[j] += to_t;
                    dg[j] += to_g;
                    dg[width + j] += to_h;
                }
                // de = dz G', and G's gradient e dz' with dz turned into panels of columns.
                rows_of_panel<2>(gate + 2 * at * width, 2 * width, width, tile.z, 2 * width, de, P);
                for (Index k = 0; k < 2 * width; ++k) {
                    T *to = turned + k / P * P * P + k % P;
                    for (int l = 0; l < P; ++l) to[l * P] = tile.z[k * P + l];
                }
                for (Index panel = 0; panel < columns; panel += P) {
                    rows_of_panel<2>(tile.e, P, width, turned + panel * P, P, product_of + panel, columns);
                }
                for (Index j = 0; j < width; ++j) {
                    T *__restrict to = dgate + j * 2 * width;
                    const T *__restrict from = product_of + j * columns;
                    for (Index k = 0; k < 2 * width; ++k) to[k] += from[k];
                }
                for (Index j = 0; j < width; ++j) {
                    const T *__restrict e = tile.e + j * P, *__restrict grad = de + j * P;
                    const T slope = net.a[j];
                    T to_a = T(0), to_b = T(0);
                    for (int l = 0; l < P; ++l) {
                        const T dp = grad[l] * (e[l] > T(0) ? T(1) : e[l] + T(1));
                        to_a += dp * value[l];
                        to_b += dp;
                        to_x[l] += dp * slope;
                    }
                    da[j] += to_a;
                    db[j] += to_b;
                }
                std::memcpy(dxs + i * P, to_x, sizeof(to_x));
            }
            to_tokens(dxs, count, inputs, dx + first * inputs);
            to_tokens(dws, count, inputs, dw + first * inputs);
        }
        std::free(memory);
    }
    for (Index k = 0; k < size; ++k) {
        T sum = T(0);
        for (int thread = 0; thread < threads; ++thread) sum += all[thread * size + k];
        dparameters[k] = sum;
    }
    std::free(all);
    return failed;
}

}  // namespace

#define EXPORT(T, SUFFIX)                                                                                               \
    int lem_networks_forward_##SUFFIX(const T *x, const T *w, const T *a, const T *b, const T *s, const T *t,           \
                                      const T *c, const T *gate_transposed, const T *g, T *out, Index tokens,           \
                                      Index inputs, Index width, double eps, int threads) {                             \
        return networks_forward(x, w, a, b, s, t, c, gate_transposed, g, out, tokens, inputs, width, eps, threads);     \
    }                                                                                                                   \
    int lem_networks_backward_##SUFFIX(const T *grad_out, const T *x, const T *w, const T *a, const T *b, const T *s,   \
                                       const T *t, const T *c, const T *gate, const T *gate_transposed, const T *g,     \
                                       T *dx, T *dw, T *dparameters, Index tokens, Index inputs, Index width,           \
                                       double eps, int threads) {                                                       \
        return networks_backward(grad_out, x, w, a, b, s, t, c, gate, gate_transposed, g, dx, dw, dparameters, tokens,  \
                                 inputs, width, eps, threads);                                                          \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
