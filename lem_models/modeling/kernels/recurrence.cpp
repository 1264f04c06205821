// The two recurrences of a TKAN layer, forward and backward, for CPUs.
//
// Sequences are independent of each other. So a thread takes a tile of them and goes through time alone: there is no barrier,
// and what a step needs (its state, its scratch, the packed weights) stays in the caches. The products of a step are computed
// here, on weights packed into panels once per call, with everything pointwise fused between them. Products over all steps at
// once (projections of the inputs, gradients of the weights) are left to the caller's BLAS.
//
// Arrays are contiguous, time first: [time, batch, features]. `T` is float or double. An output may overwrite an input, in the
// same memory: gates x and o y in the cell, z x in the sub-layer, du grad_u.
//
// Cell, with [i f g] = sigmoid(x_t + h_{t-1} U), o = sigmoid(y_t), c_t = f c_{t-1} + i tanh(g), h_t = o tanh(c_t):
//     dc_t = dh_t o (1 - tanh^2 c_t) + f_{t+1} dc_{t+1},      dh_t = grad h_t + dx_{t+1} U',
//     dx_t = dc_t [tanh(g) i (1 - i),  c_{t-1} f (1 - f),  i (1 - tanh^2 g) g (1 - g)],      dy_t = dh_t tanh(c_t) o (1 - o).
//
// Sub-layer, with z_t = x_t + s_{t-1} B, n = (z - mean) / deviation, y = n w + v, u_t = phi(y) W + b (phi: relu and the
// spline bases of every feature) and s_t = p u_t + q s_{t-1}:
//     ds_t = grad s_t + q ds_{t+1} + dz_{t+1} B',      du_t = grad u_t + p ds_t,      dy = sum_k phi_k'(y) (du_t W_k'),
//     dz_t = (w dy - mean(w dy) - n mean(w dy n)) / deviation.

#include "common.h"

namespace {

// Bases as in kan.py: (max(2 - a, 0)^3 - 4 max(1 - a, 0)^3) / 6 with a = |x - centre| / step.
template <class T> INLINE T basis(T x, T centre, T scale) {
    const T a = std::fabs(x - centre) * scale;
    const T outer = a < T(2) ? T(2) - a : T(0), inner = a < T(1) ? T(1) - a : T(0);
    return outer * outer * outer * T(1.0 / 6.0) - inner * inner * inner * T(4.0 / 6.0);
}
template <class T> INLINE T basis_slope(T x, T centre, T scale) {
    const T d = x - centre, a = std::fabs(d) * scale;
    const T outer = a < T(2) ? T(2) - a : T(0), inner = a < T(1) ? T(1) - a : T(0);
    const T slope = (inner * inner * T(2) - outer * outer * T(0.5)) * scale;
    return d < T(0) ? -slope : slope;
}

// ---- tiles of sequences ------------------------------------------------------------------------------------------------

// Rows per tile: at most 32, so that the scratch stays in the cache, and as many tiles for every thread.
Index tile_rows(Index batch, int threads) {
    if (batch < 1) return 4;
    const Index tiles = threads * ((batch + 32 * threads - 1) / (32 * threads));
    return ((batch + tiles - 1) / tiles + 3) / 4 * 4;
}

// ---- cell ----------------------------------------------------------------------------------------------------------------

template <class T>
int cell_forward(const T *x, const T *y, const T *kernel, const T *h0, const T *c0, T *h, T *c, T *gates, T *o,
                 Index steps, Index batch, Index width, int threads) {
    // gates and o may be null (nothing kept for a backward pass); then c holds the last cell state alone.
    const Index three = 3 * width, ld = padded<T>(three + width);
    const bool keep = gates != nullptr;
    T *packed = allocate<T>(padded<T>(three) * width);
    if (!packed) return 1;
    pack(kernel, width, three, three, Index(1), packed);
    const Index rows = tile_rows(batch, threads);
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < batch; first += rows) {
        const Index count = batch - first < rows ? batch - first : rows;
        T *scratch = allocate<T>(rows * ld);
        if (!scratch) { failed |= 1; continue; }
        const T *before = h0 + first * width;
        std::memcpy(c + first * width, c0 + first * width, count * width * sizeof(T));
        for (Index t = 0; t < steps; ++t) {
            const Index at = t * batch + first;
            product(before, width, count, packed, width, three, scratch, ld);
            for (Index r = 0; r < count; ++r) {
                T *pre = scratch + r * ld;
                const T *add = x + (at + r) * three, *out = y + (at + r) * width;
                INDEPENDENT for (Index j = 0; j < three; ++j) pre[j] = sigmoid(pre[j] + add[j]);
                const T *i = pre, *f = pre + width, *g = pre + 2 * width;
                const T *old = c + ((keep ? at : first) + r) * width;
                T *now = c + ((keep ? at + batch : first) + r) * width;
                T *hidden = h + (at + r) * width;
                if (keep) {
                    std::memcpy(gates + (at + r) * three, pre, three * sizeof(T));
                    T *open = o + (at + r) * width;
                    INDEPENDENT for (Index j = 0; j < width; ++j) open[j] = sigmoid(out[j]);
                    out = open;
                } else {
                    T *open = pre + three;
                    INDEPENDENT for (Index j = 0; j < width; ++j) open[j] = sigmoid(out[j]);
                    out = open;
                }
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    const T cell = f[j] * old[j] + i[j] * hyperbolic(g[j]);
                    now[j] = cell;
                    hidden[j] = out[j] * hyperbolic(cell);
                }
            }
            before = h + at * width;
        }
        std::free(scratch);
    }
    std::free(packed);
    return failed;
}

template <class T>
int cell_backward(const T *grad_h, const T *grad_c, const T *kernel, const T *c, const T *gates, const T *o, T *dx,
                  T *dy, T *dh0, T *dc0, Index steps, Index batch, Index width, int threads) {
    const Index three = 3 * width, ld = padded<T>(width);
    T *packed = allocate<T>(padded<T>(width) * three);
    if (!packed) return 1;
    pack(kernel, three, width, Index(1), three, packed);  // U transposed
    const Index rows = tile_rows(batch, threads);
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < batch; first += rows) {
        const Index count = batch - first < rows ? batch - first : rows;
        T *scratch = allocate<T>(rows * ld);
        if (!scratch) { failed |= 1; continue; }
        std::memset(scratch, 0, rows * ld * sizeof(T));
        T *carried_rows = dc0 + first * width;
        std::memcpy(carried_rows, grad_c + first * width, count * width * sizeof(T));
        for (Index t = steps; t-- > 0;) {
            const Index at = t * batch + first;
            for (Index r = 0; r < count; ++r) {
                const T *i = gates + (at + r) * three, *f = i + width, *g = f + width;
                const T *open = o + (at + r) * width, *old = c + (at + r) * width, *now = c + (at + batch + r) * width;
                const T *grad = grad_h + (at + r) * width, *through = scratch + r * ld;
                T *carried = carried_rows + r * width, *to_y = dy + (at + r) * width;
                T *to_i = dx + (at + r) * three, *to_f = to_i + width, *to_g = to_f + width;
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    const T tanh_g = hyperbolic(g[j]), tanh_c = hyperbolic(now[j]);
                    const T dh = grad[j] + through[j];
                    const T dc = carried[j] + dh * open[j] * (T(1) - tanh_c * tanh_c);
                    to_y[j] = dh * tanh_c * open[j] * (T(1) - open[j]);
                    to_i[j] = dc * tanh_g * i[j] * (T(1) - i[j]);
                    to_f[j] = dc * old[j] * f[j] * (T(1) - f[j]);
                    to_g[j] = dc * i[j] * (T(1) - tanh_g * tanh_g) * g[j] * (T(1) - g[j]);
                    carried[j] = dc * f[j];
                }
            }
            product(dx + at * three, three, count, packed, three, width, scratch, ld);
        }
        for (Index r = 0; r < count; ++r) std::memcpy(dh0 + (first + r) * width, scratch + r * ld, width * sizeof(T));
        std::free(scratch);
    }
    std::free(packed);
    return failed;
}

// ---- sub-layer ---------------------------------------------------------------------------------------------------------

template <class T> INLINE void moments(const T *z, Index width, T eps, T &mean, T &inverse) {
    T sum = T(0), squares = T(0);
    for (Index j = 0; j < width; ++j) sum += z[j];
    mean = sum / T(width);
    for (Index j = 0; j < width; ++j) squares += (z[j] - mean) * (z[j] - mean);
    inverse = T(1) / std::sqrt(squares / T(width) + eps);
}

// phi(y) of one row: relu of all features, then each basis of all features.
template <class T>
INLINE void expand(const T *__restrict z, const T *__restrict weight, const T *__restrict bias, Index width, Index count, T low,
                   T step, T eps, T *__restrict y, T *__restrict phi) {
    T mean, inverse;
    moments(z, width, eps, mean, inverse);
    for (Index j = 0; j < width; ++j) {
        const T value = (z[j] - mean) * inverse * weight[j] + bias[j];
        y[j] = value;
        phi[j] = value > T(0) ? value : (value == value ? T(0) : value);  // NaN stays NaN
    }
    const T scale = T(1) / step;
    for (Index k = 0; k < count; ++k) {
        const T centre = low + T(k + 2) * step;
        T *__restrict out = phi + (k + 1) * width;
        for (Index j = 0; j < width; ++j) out[j] = basis(y[j], centre, scale);
    }
}

template <class T>
int sub_layer_forward(const T *x, const T *kernel, const T *gain, const T *keep_gain, const T *norm_weight,
                      const T *norm_bias, const T *weight, const T *bias, const T *s0, T *u, T *s, T *z, Index steps,
                      Index batch, Index width, Index count, double low, double step, double eps, int threads) {
    // z may be null (nothing kept for a backward pass); then s holds the last memory alone, else those of all steps.
    const Index depth = (count + 1) * width, ld = padded<T>(width);
    T *packed_kernel = allocate<T>(ld * width), *packed = allocate<T>(ld * depth);
    if (!packed_kernel || !packed) return 1;
    pack(kernel, width, width, width, Index(1), packed_kernel);
    pack(weight, depth, width, width, Index(1), packed);
    const Index rows = tile_rows(batch, threads);
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < batch; first += rows) {
        const Index count_rows = batch - first < rows ? batch - first : rows;
        T *scratch = allocate<T>(rows * (ld + depth) + 2 * width);
        if (!scratch) { failed |= 1; continue; }
        T *phi = scratch + rows * ld, *y = phi + rows * depth, *point = y + width;
        std::memcpy(s + first * width, s0 + first * width, count_rows * width * sizeof(T));
        for (Index t = 0; t < steps; ++t) {
            const Index at = t * batch + first;
            const Index old_at = z ? at : first, new_at = z ? at + batch : first;
            product(s + old_at * width, width, count_rows, packed_kernel, width, width, scratch, ld);
            for (Index r = 0; r < count_rows; ++r) {
                T *here = z ? z + (at + r) * width : point;
                const T *add = x + (at + r) * width, *pre = scratch + r * ld;
                INDEPENDENT for (Index j = 0; j < width; ++j) here[j] = pre[j] + add[j];
                expand(here, norm_weight, norm_bias, width, count, T(low), T(step), T(eps), y, phi + r * depth);
            }
            product(phi, depth, count_rows, packed, depth, width, scratch, ld);
            for (Index r = 0; r < count_rows; ++r) {
                const T *sum = scratch + r * ld, *old = s + (old_at + r) * width;
                T *now = s + (new_at + r) * width, *out = u + (at + r) * width;
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    const T value = sum[j] + bias[j];
                    out[j] = value;
                    now[j] = gain[j] * value + keep_gain[j] * old[j];
                }
            }
        }
        std::free(scratch);
    }
    std::free(packed_kernel);
    std::free(packed);
    return failed;
}

template <class T>
int sub_layer_backward(const T *grad_u, const T *grad_s, const T *kernel, const T *gain, const T *keep_gain,
                       const T *norm_weight, const T *norm_bias, const T *weight, const T *u, const T *s, const T *z,
                       T *du, T *dz, T *ds0, T *vectors, Index steps, Index batch, Index width, Index count, double low_,
                       double step_, double eps_, int threads) {
    // vectors [4, width]: gradients of gain, keep_gain, norm_weight, norm_bias.
    const T low = T(low_), step = T(step_), eps = T(eps_), scale = T(1) / step;
    const Index ld = padded<T>(width), panel = PANEL<T>;
    T *packed_kernel = allocate<T>(ld * width), *packed = allocate<T>((count + 1) * ld * width);
    if (!packed_kernel || !packed) return 1;
    pack(kernel, width, width, Index(1), width, packed_kernel);  // B transposed
    // W_k transposed, panels of the same columns of all k next to each other: they are summed up together.
    for (Index k = 0; k <= count; ++k)
        for (Index column = 0; column < width; column += panel)
            pack(weight + (k * width + column) * width, width, width - column < panel ? width - column : panel, Index(1), width,
                 packed + (column / panel * (count + 1) + k) * width * panel);
    const Index rows = tile_rows(batch, threads);
    const Index tiles = (batch + rows - 1) / rows;
    T *sums = allocate<T>(tiles * 4 * width);
    if (!sums) return 1;
    std::memset(sums, 0, tiles * 4 * width * sizeof(T));
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index tile = 0; tile < tiles; ++tile) {
        const Index first = tile * rows, count_rows = batch - first < rows ? batch - first : rows;
        T *scratch = allocate<T>(rows * (3 * ld + panel) + rows);
        if (!scratch) { failed |= 1; continue; }
        T *normal = scratch, *y = normal + rows * ld, *dy = y + rows * ld, *terms = dy + rows * ld, *inverse = terms + rows * panel;
        T *through = y;  // the product of a step is read before the next step's points are written
        T *d_gain = sums + tile * 4 * width, *d_keep = d_gain + width, *d_weight = d_keep + width;
        T *d_bias = d_weight + width;
        T *carried = ds0 + first * width;
        std::memcpy(carried, grad_s + first * width, count_rows * width * sizeof(T));
        for (Index t = steps; t-- > 0;) {
            const Index at = t * batch + first;
            for (Index r = 0; r < count_rows; ++r) {
                const T *ds = carried + r * width, *grad = grad_u + (at + r) * width;
                const T *out = u + (at + r) * width, *old = s + (at + r) * width;
                T *to_u = du + (at + r) * width;
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    to_u[j] = grad[j] + gain[j] * ds[j];
                    d_gain[j] += ds[j] * out[j];
                    d_keep[j] += ds[j] * old[j];
                }
                const T *__restrict point = z + (at + r) * width;
                T mean;
                moments(point, width, eps, mean, inverse[r]);
                T *__restrict n = normal + r * ld, *__restrict value = y + r * ld;
                for (Index j = 0; j < width; ++j) {
                    n[j] = (point[j] - mean) * inverse[r];
                    value[j] = n[j] * norm_weight[j] + norm_bias[j];
                }
            }
            const T *weights = packed;
            for (Index column = 0; column < width; column += panel) {
                const Index columns = width - column < panel ? width - column : panel;
                for (Index k = 0; k <= count; ++k, weights += width * panel) {
                    product_panel(du + at * width, width, count_rows, weights, width, columns, terms, panel);
                    const T centre = low + T(k + 1) * step;
                    for (Index r = 0; r < count_rows; ++r) {
                        const T *__restrict value = y + r * ld + column, *__restrict add = terms + r * panel;
                        T *__restrict to = dy + r * ld + column;
                        if (k == 0)
                            for (Index j = 0; j < columns; ++j) to[j] = value[j] > T(0) ? add[j] : T(0);
                        else
                            for (Index j = 0; j < columns; ++j) to[j] += basis_slope(value[j], centre, scale) * add[j];
                    }
                }
            }
            for (Index r = 0; r < count_rows; ++r) {
                const T *n = normal + r * ld;
                T *grad = dy + r * ld, *to_z = dz + (at + r) * width;
                T sum = T(0), along = T(0);
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    d_weight[j] += grad[j] * n[j];
                    d_bias[j] += grad[j];
                    grad[j] *= norm_weight[j];
                    sum += grad[j];
                    along += grad[j] * n[j];
                }
                const T mean = sum / T(width), slope = along / T(width);
                for (Index j = 0; j < width; ++j) to_z[j] = (grad[j] - mean - n[j] * slope) * inverse[r];
            }
            product(dz + at * width, width, count_rows, packed_kernel, width, width, through, ld);
            for (Index r = 0; r < count_rows; ++r) {
                T *__restrict ds = carried + r * width;
                const T *__restrict add = through + r * ld;
                for (Index j = 0; j < width; ++j) ds[j] = keep_gain[j] * ds[j] + add[j];
            }
        }
        std::free(scratch);
    }
    for (Index j = 0; j < 4 * width; ++j) {
        T sum = T(0);
        for (Index tile = 0; tile < tiles; ++tile) sum += sums[tile * 4 * width + j];
        vectors[j] = sum;
    }
    std::free(sums);
    std::free(packed_kernel);
    std::free(packed);
    return failed;
}

// phi of rows of points, for the weights' gradient: [rows, width] to [rows, (count + 1) * width].
template <class T>
int expand_rows(const T *z, const T *norm_weight, const T *norm_bias, T *phi, Index rows, Index width, Index count, double low,
                double step, double eps, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        T *y = allocate<T>(width);
        if (!y) failed |= 1;
#pragma omp for schedule(static)
        for (Index r = 0; r < rows; ++r)
            if (y)
                expand(z + r * width, norm_weight, norm_bias, width, count, T(low), T(step), T(eps), y,
                       phi + r * (count + 1) * width);
        std::free(y);
    }
    return failed;
}

}  // namespace

#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_cell_forward_##SUFFIX(const T *x, const T *y, const T *kernel, const T *h0, const T *c0, T *h, T *c,        \
                                  T *gates, T *o, Index steps, Index batch, Index width, int threads) {                 \
        return cell_forward(x, y, kernel, h0, c0, h, c, gates, o, steps, batch, width, threads);                        \
    }                                                                                                                  \
    int lem_cell_backward_##SUFFIX(const T *grad_h, const T *grad_c, const T *kernel, const T *c, const T *gates,       \
                                   const T *o, T *dx, T *dy, T *dh0, T *dc0, Index steps, Index batch, Index width,     \
                                   int threads) {                                                                      \
        return cell_backward(grad_h, grad_c, kernel, c, gates, o, dx, dy, dh0, dc0, steps, batch, width, threads);      \
    }                                                                                                                  \
    int lem_sub_layer_forward_##SUFFIX(const T *x, const T *kernel, const T *gain, const T *keep, const T *norm_weight, \
                                       const T *norm_bias, const T *weight, const T *bias, const T *s0, T *u, T *s,     \
                                       T *z, Index steps, Index batch, Index width, Index count, double low,            \
                                       double step, double eps, int threads) {                                         \
        return sub_layer_forward(x, kernel, gain, keep, norm_weight, norm_bias, weight, bias, s0, u, s, z, steps,       \
                                 batch, width, count, low, step, eps, threads);                                        \
    }                                                                                                                  \
    int lem_sub_layer_backward_##SUFFIX(const T *grad_u, const T *grad_s, const T *kernel, const T *gain,               \
                                        const T *keep, const T *norm_weight, const T *norm_bias, const T *weight,       \
                                        const T *u, const T *s, const T *z, T *du, T *dz, T *ds0, T *vectors,           \
                                        Index steps, Index batch, Index width, Index count, double low, double step,    \
                                        double eps, int threads) {                                                     \
        return sub_layer_backward(grad_u, grad_s, kernel, gain, keep, norm_weight, norm_bias, weight, u, s, z, du, dz,  \
                                  ds0, vectors, steps, batch, width, count, low, step, eps, threads);                  \
    }                                                                                                                  \
    int lem_expand_rows_##SUFFIX(const T *z, const T *norm_weight, const T *norm_bias, T *phi, Index rows, Index width, \
                                 Index count, double low, double step, double eps, int threads) {                      \
        return expand_rows(z, norm_weight, norm_bias, phi, rows, width, count, low, step, eps, threads);               \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
