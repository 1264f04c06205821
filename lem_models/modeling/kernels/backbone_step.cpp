// One bar of the backbone for many sequences, forward only: what LEMBackbone.step computes, in one call.
//
// selection of scalar inputs -> TKAN layers -> gate, add & norm -> gated residual network -> attention from the new bar to the
// last ones -> gate, add & norm. The equations are in selection.py, tkan.py and attention.py. The networks of the inputs and the
// recurrences are the kernels that read whole sequences; the small layers around them, which torch takes longer to call than to
// compute, are here. A sequence's result does not depend on the other sequences.
//
// Weights of linear layers are [outputs, inputs], as torch keeps them. Arrays are contiguous, sequences first.

#include "common.h"

#define DECLARE(T, SUFFIX)                                                                                             \
    int lem_networks_forward_##SUFFIX(const T *, const T *, const T *, const T *, const T *, const T *, const T *,      \
                                      const T *, const T *, T *, Index, Index, Index, double, int);                     \
    int lem_sub_layer_forward_##SUFFIX(const T *, const T *, const T *, const T *, const T *, const T *, const T *,     \
                                       const T *, const T *, T *, T *, T *, Index, Index, Index, Index, double, double, \
                                       double, int);                                                                   \
    int lem_cell_forward_##SUFFIX(const T *, const T *, const T *, const T *, const T *, T *, T *, T *, T *, Index,     \
                                  Index, Index, int);

extern "C" {
DECLARE(float, f32)
DECLARE(double, f64)
}

namespace {

template <class T> struct Whole;  // the kernels of whole sequences, by type
template <> struct Whole<float> {
    static constexpr auto networks = lem_networks_forward_f32;
    static constexpr auto sub_layer = lem_sub_layer_forward_f32;
    static constexpr auto cell = lem_cell_forward_f32;
};
template <> struct Whole<double> {
    static constexpr auto networks = lem_networks_forward_f64;
    static constexpr auto sub_layer = lem_sub_layer_forward_f64;
    static constexpr auto cell = lem_cell_forward_f64;
};

constexpr Index TILE = 8;  // rows that a layer's weights serve while they are in the first cache

// gate(z) = (z W + b)_1 sigmoid((z W + b)_2), then LayerNorm(skip + gate).
template <class T> struct Gate {
    Linear<T> linear;
    const T *scale, *offset;
};
template <class T> struct Residual {
    Linear<T> skip, hidden1, hidden2;
    Gate<T> gate;
};
// What a TKAN layer takes: projections as linear layers, then the arguments of the kernels of whole sequences.
template <class T> struct Layer {
    Linear<T> gates, output;
    const T *sub_input, *recurrent, *sub_state, *gain, *keep, *norm_weight, *norm_bias, *kan, *kan_bias;
};

template <class T> struct Reader {
    const T *const *at;
    const T *next() { return *at++; }
    Linear<T> linear() { const T *w = next(); return {w, next()}; }
    Gate<T> gate() { const Linear<T> l = linear(); const T *scale = next(); return {l, scale, next()}; }
    Residual<T> residual() {
        const Linear<T> skip = linear(), hidden1 = linear(), hidden2 = linear();
        return {skip, hidden1, hidden2, gate()};
    }
};

template <class T>
void apply_all(const Linear<T> &layer, const T *x, Index rows, Index inputs, Index outputs, T *out, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (Index first = 0; first < rows; first += TILE)
        apply(layer, x + first * inputs, rows - first < TILE ? rows - first : TILE, inputs, outputs, out + first * outputs);
}

template <class T> void gate_add_norm(const T *z, const T *skip, Index rows, Index inputs, Index outputs, const Gate<T> &gate,
                                      T eps, T *scratch, T *out) {
    apply(gate.linear, z, rows, inputs, 2 * outputs, scratch);
    for (Index r = 0; r < rows; ++r) {
        const T *linear = scratch + r * 2 * outputs, *open = linear + outputs, *add = skip + r * outputs;
        T *row = out + r * outputs, sum = T(0), squares = T(0);
        INDEPENDENT for (Index j = 0; j < outputs; ++j) row[j] = add[j] + linear[j] * sigmoid(open[j]);
        for (Index j = 0; j < outputs; ++j) sum += row[j];
        const T mean = sum / T(outputs);
        for (Index j = 0; j < outputs; ++j) squares += (row[j] - mean) * (row[j] - mean);
        const T inverse = T(1) / std::sqrt(squares / T(outputs) + eps);
        INDEPENDENT for (Index j = 0; j < outputs; ++j) row[j] = (row[j] - mean) * inverse * gate.scale[j] + gate.offset[j];
    }
}

template <class T> void residual(const T *x, Index rows, Index inputs, Index hidden, Index outputs, const Residual<T> &network,
                                 T eps, T *scratch, T *out) {
    T *skip = scratch, *first = skip + rows * outputs, *second = first + rows * hidden, *rest = second + rows * hidden;
    apply(network.skip, x, rows, inputs, outputs, skip);
    apply(network.hidden1, x, rows, inputs, hidden, first);
    INDEPENDENT for (Index j = 0; j < rows * hidden; ++j) first[j] = first[j] > T(0) ? first[j] : exponential(first[j]) - T(1);
    apply(network.hidden2, first, rows, hidden, hidden, second);
    gate_add_norm(second, skip, rows, hidden, outputs, network.gate, eps, rest, out);
}

// Attention from one bar of one sequence; its key and value go into the memory at count % window.
template <class T> void attend(const T *query_key_value, T *keys, T *values, Index count, Index width, Index heads, Index window,
                               const T *distance_bias, T *scores, T *out) {
    const Index size = width / heads, place = count % window;
    const T *query = query_key_value, scale = T(1) / std::sqrt(T(size));
    std::memcpy(keys + place * width, query + width, width * sizeof(T));
    std::memcpy(values + place * width, query + 2 * width, width * sizeof(T));
    for (Index j = 0; j < width; ++j) out[j] = T(0);
    const Index known = count + 1 < window ? count + 1 : window;
    for (Index head = 0; head < heads; ++head) {
        const T *q = query + head * size;
        T largest = -INFINITY, total = T(0);
        for (Index distance = 0; distance < known; ++distance) {
            const Index slot = (place - distance + window) % window;
            scores[distance] = dot(q, keys + slot * width + head * size, size) * scale + distance_bias[head * window + distance];
            largest = scores[distance] > largest ? scores[distance] : largest;
        }
        for (Index distance = 0; distance < known; ++distance) total += scores[distance] = exponential(scores[distance] - largest);
        for (Index distance = 0; distance < known; ++distance) {
            const T *value = values + (place - distance + window) % window * width + head * size;
            const T weight = scores[distance] / total;
            T *to = out + head * size;
            for (Index j = 0; j < size; ++j) to[j] += weight * value[j];
        }
    }
}

// State: h, c and s of each layer, keys, values, count (int64), moved on in place.
template <class T>
int backbone_step(const T *x, T *context, const T *const *weights, void *const *state, Index rows, Index inputs, Index width,
                  Index layers, Index heads, Index window, Index bases, double low, double step, double eps_, int threads) {
    const T eps = T(eps_);
    Reader<T> reader{weights};
    const Residual<T> selector = reader.residual();
    const T *slope = reader.next(), *intercept = reader.next(), *skip_slope = reader.next(), *skip_intercept = reader.next();
    const T *scale = reader.next(), *gate = reader.next(), *gate_bias = reader.next(), *offset = reader.next();

    T *memory = allocate<T>(rows * (inputs + 9 * width));
    if (!memory) return 1;
    T *chosen = memory, *selected = chosen + rows * inputs, *points = selected + rows * width, *u = points + rows * width;
    T *open = u + rows * width, *now = open + rows * width, *cell = now + rows * width, *gates = cell + rows * width;
    const Index wide = width > inputs ? width : inputs, scratch_size = TILE * (8 * wide + window);
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < rows; first += TILE) {
        const Index count = rows - first < TILE ? rows - first : TILE;
        T *scratch = allocate<T>(scratch_size);
        if (!scratch) { failed |= 1; continue; }
        T *out = chosen + first * inputs;
        residual(x + first * inputs, count, inputs, width, inputs, selector, eps, scratch, out);
        for (Index r = 0; r < count; ++r) {
            T *row = out + r * inputs, largest = row[0], total = T(0);
            for (Index i = 1; i < inputs; ++i) largest = row[i] > largest ? row[i] : largest;
            for (Index i = 0; i < inputs; ++i) total += row[i] = exponential(row[i] - largest);
            for (Index i = 0; i < inputs; ++i) row[i] /= total;
        }
        std::free(scratch);
    }
    failed |= Whole<T>::networks(x, chosen, slope, intercept, skip_slope, skip_intercept, scale, gate, gate_bias, selected, rows,
                                 inputs, width, eps_, threads);
    for (Index r = 0; r < rows; ++r)
        for (Index i = 0; i < inputs; ++i) {
            const T weight = chosen[r * inputs + i], *add = offset + i * width;
            T *row = selected + r * width;
            INDEPENDENT for (Index j = 0; j < width; ++j) row[j] += weight * add[j];
        }

    const T *below = selected;
    for (Index number = 0; number < layers; ++number) {
        Layer<T> layer;
        layer.gates = reader.linear(), layer.output = reader.linear();
        layer.sub_input = reader.next(), layer.recurrent = reader.next(), layer.sub_state = reader.next();
        layer.gain = reader.next(), layer.keep = reader.next(), layer.norm_weight = reader.next(), layer.norm_bias = reader.next();
        layer.kan = reader.next(), layer.kan_bias = reader.next();
        T *h = static_cast<T *>(*state++), *c = static_cast<T *>(*state++), *s = static_cast<T *>(*state++);
        apply_all(Linear<T>{layer.sub_input, nullptr}, below, rows, width, width, points, threads);
        failed |= Whole<T>::sub_layer(points, layer.sub_state, layer.gain, layer.keep, layer.norm_weight, layer.norm_bias,
                                      layer.kan, layer.kan_bias, s, u, now, nullptr, 1, rows, width, bases, low, step, eps_,
                                      threads);
        std::memcpy(s, now, rows * width * sizeof(T));
        apply_all(layer.gates, below, rows, width, 3 * width, gates, threads);
        apply_all(layer.output, u, rows, width, width, open, threads);
        failed |= Whole<T>::cell(gates, open, layer.recurrent, h, c, now, cell, nullptr, nullptr, 1, rows, width, threads);
        std::memcpy(h, now, rows * width * sizeof(T));
        std::memcpy(c, cell, rows * width * sizeof(T));
        below = h;
    }

    const Gate<T> recurrent_gate = reader.gate();
    const Residual<T> enrichment = reader.residual();
    const Linear<T> query_key_value = reader.linear(), output = reader.linear();
    const T *distance_bias = reader.next();
    const Gate<T> attention_gate = reader.gate();
    T *keys = static_cast<T *>(*state++), *values = static_cast<T *>(*state++);
    Index *read = static_cast<Index *>(*state++);
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < rows; first += TILE) {
        const Index count = rows - first < TILE ? rows - first : TILE, at = first * width;
        T *scratch = allocate<T>(scratch_size);
        if (!scratch) { failed |= 1; continue; }
        T *enriched = points + at, *attended = u + at;
        gate_add_norm(below + at, selected + at, count, width, width, recurrent_gate, eps, scratch, enriched);
        residual(enriched, count, width, width, width, enrichment, eps, scratch, open + at);
        enriched = open + at;
        apply(query_key_value, enriched, count, width, 3 * width, scratch);
        for (Index r = 0; r < count; ++r) {
            const Index row = first + r;
            attend(scratch + r * 3 * width, keys + row * window * width, values + row * window * width, read[row], width, heads,
                   window, distance_bias, scratch + TILE * 3 * width, attended + r * width);
            ++read[row];
        }
        apply(output, attended, count, width, width, points + at);
        gate_add_norm(points + at, enriched, count, width, width, attention_gate, eps, scratch, context + at);
        std::free(scratch);
    }
    std::free(memory);
    return failed;
}

}  // namespace

#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_backbone_step_##SUFFIX(const T *x, T *context, const T *const *weights, void *const *state, Index rows,     \
                                   Index inputs, Index width, Index layers, Index heads, Index window, Index bases,     \
                                   double low, double step, double eps, int threads) {                                 \
        return backbone_step(x, context, weights, state, rows, inputs, width, layers, heads, window, bases, low, step,  \
                             eps, threads);                                                                            \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
