// The roll-out of the flexible head: all periods of many orders in one call, forward and backward.
//
// Orders are independent of each other. A thread takes a tile of them through the periods; a period's network sees only the
// orders that are live (before their maximum, with something left). The forward pass keeps the features and the
// pre-activations of live order-periods, one row each. The backward pass goes through the periods in reverse with the gradients
// of what is left and of the sum of fills times prices (R and W below), which is all that one period hands to the next:
//     fill = min(fraction(R, anchors, answers), capacity),   R' = R - fill,   W' = W + fill P   (fill / P for a notional),
//     anchors, features = functions of R, W and the expected weights,   answers = network(features, context).
// Gradients of weights are summed over fixed groups of tiles, then over the groups, in the same order with any number of threads.

#include "flexible_head.h"

namespace {

constexpr Index TILE = 96, MOST_GROUPS = 32;  // orders of a tile; parts of the sums of gradients

// Arrays [orders, periods] and columns of them, all of the type S.
template <class S> struct Table {
    const S *columns, *volatility, *expected, *price, *close, *volume;
    S *fills, *remaining, *finish, *capacity;
    const Index *bars;  // row of the contexts before each period
    const S *grain;     // of each order the lot (0: none), the participation limit (infinite: none), and what a unit of volume
                        // counts towards it, [3, orders]; null if no order has a lot or a limit
};

template <class S> Table<S> table_of(S *const *a) {
    return {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], reinterpret_cast<const Index *>(a[10]), a[11]};
}

// Lots and participation limits of one order, as in execution/roll.py.
template <class S> struct Grain {
    S lot = S(0), participation = S(INFINITY), unit = S(0);

    static Grain of(const S *grain, Index orders, Index i) {
        return grain ? Grain{grain[i], grain[orders + i], grain[2 * orders + i]} : Grain{};
    }
    S nearest(S fraction) const {
        const S half = S(0.5 + 1e-9);  // half a lot, which is rounded up, may come out a rounding error short
        return lot > 0 ? std::floor(fraction / lot + half) * lot : fraction;
    }
    S below(S fraction) const {
        const S slack = S(1) + S(1e-15);  // whole lots may come out a rounding error short
        return lot > 0 ? std::floor(fraction / lot * slack + S(1e-6)) * lot : fraction;
    }
    // Largest fill of a bar that trades.
    S capacity(const Order<S> &order, S price, S volume) const {
        const S units = volume * unit, limit = participation * (order.is_notional > 0 ? units * price : units);
        return below(limit < order.max_rate ? limit : order.max_rate);
    }
};

struct Shape {
    Index orders, periods, bars, horizon, width, layers, has_exponent, half_products;
    Index context() const { return width + horizon + (has_exponent ? 1 : 0); }
    Index kept() const { return FEATURES + (layers + 1) * width; }
    Index tiles() const { return (orders + TILE - 1) / TILE; }
};

// A market with the sums behind its averages.
template <class S> struct Track {
    Market<S> market;
    S money = S(0), price_sum = S(0), price_count = S(0);

    void book(S price, S close, S volume, S expected) {
        market.see(price, volume, expected);
        market.last_close = close;
        money += price * volume;
        if (volume > 0) price_sum += price, price_count += S(1);
        const bool any = market.volume > 0;
        market.vwap = any ? money / market.volume : close;
        market.twap = any ? price_sum / price_count : close;
    }
};

template <class S> INLINE Index periods_of(const Order<S> &order, Index periods) {
    return order.maximum < S(periods) ? Index(order.maximum) : periods;
}

// First row of every tile among the rows that are kept, [tiles + 1]: a row for each period up to the maximum.
template <class S> void rows_of_tiles(const Table<S> &t, const Shape &shape, Index *first) {
    Index sum = 0;
    for (Index i = 0; i < shape.orders; ++i) {
        if (i % TILE == 0) first[i / TILE] = sum;
        sum += periods_of(Order<S>::of(t.columns, t.volatility, shape.orders, i), shape.periods);
    }
    first[shape.tiles()] = sum;
}

template <class T> Index widest_of(const Shape &shape) {
    const Index ld = padded<T>(shape.width), ld_features = padded<T>(FEATURES);
    return ld > ld_features ? ld : ld_features;
}

// Logs of expected volumes, which the exponent multiplies.
template <class S> void logs_of(const S *expected, Index periods, const Limits &limits, S *logs) {
    for (Index k = 0; k < periods; ++k) logs[k] = std::log(at_least(expected[k], limits.expected));
}

// `kept` may be null: nothing is kept for a backward pass. `to_finish`: an order is not live after the first period with a
// probability of finishing above 1/2.
template <class S, class T>
int roll_forward(const T *context, const T *const *weights, const Table<S> &t, T *kept, const Shape &shape, bool to_finish,
                 const Limits &limits, int threads) {
    const Index periods = shape.periods, width = shape.width, ld = padded<T>(width), ld_answers = padded<T>(OUTPUTS);
    const Packed<T> packed(weights, shape.layers, shape.width, false, shape.half_products);
    Index *first_row = allocate<Index>(shape.tiles() + 1);
    if (!packed.is_complete() || !first_row) { std::free(first_row); return 1; }
    rows_of_tiles(t, shape, first_row);
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(| : failed)
    for (Index tile = 0; tile < shape.tiles(); ++tile) {
        const Index first = tile * TILE, count = shape.orders - first < TILE ? shape.orders - first : TILE;
        T *scratch = allocate<T>(TILE * (FEATURES + 2 * ld + ld_answers + widest_of<T>(shape)));
        S *future = allocate<S>(periods * (1 + (shape.has_exponent ? TILE : 0))), *logs = future + periods;
        if (!scratch || !future) { failed |= 1; std::free(scratch); std::free(future); continue; }
        T *features = scratch, *hidden = features + TILE * FEATURES, *next = hidden + TILE * ld, *answers = next + TILE * ld;
        T *pairs = answers + TILE * ld_answers;
        Order<S> orders[TILE];
        Track<S> tracks[TILE];
        S remaining[TILE], weighted[TILE];
        Path<S> paths[TILE];
        Anchors<S> anchors[TILE];
        Index live[TILE];
        Grain<S> grains[TILE];
        bool finished[TILE];
        for (Index r = 0; r < count; ++r) {
            orders[r] = Order<S>::of(t.columns, t.volatility, shape.orders, first + r);
            grains[r] = Grain<S>::of(t.grain, shape.orders, first + r);
            remaining[r] = S(1), weighted[r] = S(0), finished[r] = false;
            if (shape.has_exponent) logs_of(t.expected + (first + r) * periods, periods, limits, logs + r * periods);
        }
        T *rows = kept ? kept + first_row[tile] * shape.kept() : nullptr;
        for (Index s = 0; s < periods; ++s) {
            const auto own_context = [&](Index r) { return context + t.bars[(first + r) * periods + s] * shape.context(); };
            Index m = 0;
            for (Index r = 0; r < count; ++r) {
                const Order<S> &order = orders[r];
                const Index at = (first + r) * periods + s, left = periods_of(order, periods) - s;
                t.remaining[at] = remaining[r];
                t.capacity[at] = left > 0 && t.volume[at] > 0 ? grains[r].capacity(order, t.price[at], t.volume[at]) : S(0);
                t.fills[at] = S(0);
                t.finish[at] = S(s) + S(1) >= order.maximum ? S(1) : S(0);
                if (left <= 0 || remaining[r] == S(0) || finished[r]) continue;
                const Market<S> &market = tracks[r].market;
                paths[m] = path_of(order, market, remaining[r], weighted[r], s, limits);
                const T *outlook = own_context(r) + width, *power = shape.has_exponent ? outlook + shape.horizon : nullptr;
                future_volumes(outlook, power, t.expected + at, logs + r * periods + s, left, limits, future);
                const auto sums = sums_of(order, future, left, ends_of(order, remaining[r], s, left));
                Writer<T> writer{features + m * FEATURES};
                path_features(order, market, s, t.expected[at], paths[m], sums, limits, writer);
                anchors[m] = anchors_of(sums, weight_so_far(order, market, s));
                if (rows) std::memcpy(rows + m * shape.kept(), features + m * FEATURES, FEATURES * sizeof(T));
                live[m++] = r;
            }
            const auto multiply = [&](Index layer, const T *x, Index ldx, Index, Index, T *out, Index ldo) {
                packed.multiply(layer, x, ldx, m, out, ldo, pairs);
            };
            const auto keep = [&](Index r, Index layer, const T *x) {
                if (rows) std::memcpy(rows + r * shape.kept() + FEATURES + layer * width, x, width * sizeof(T));
            };
            network(weights, shape.layers, width, features, m, [&](Index k) { return own_context(live[k]); }, multiply, keep,
                    hidden, next, ld, answers, ld_answers);
            if (rows) rows += m * shape.kept();
            for (Index k = 0; k < m; ++k) {
                const Index r = live[k], at = (first + r) * periods + s;
                const Order<S> &order = orders[r];
                const T *answer = answers + k * ld_answers;
                const S asked = fraction_of<S>(paths[k], anchors[k], S(answer[0]), S(answer[2]), S(answer[3]), limits);
                const S fraction = at_most(at_least(grains[r].nearest(asked), paths[k].lower), paths[k].upper), stop = sigmoid(S(answer[1]));
                const S fill = at_most(fraction, t.capacity[at]);
                t.fills[at] = fill;
                const bool may = S(s) + S(1) >= order.minimum, must = S(s) + S(1) >= order.maximum;
                if (!(std::isfinite(asked) && std::isfinite(stop))) t.finish[at] = S(NAN);  // the caller sees it
                else t.finish[at] = must ? S(1) : may ? stop : S(0);
                finished[r] = to_finish && t.finish[at] > S(0.5);
                const S rest = remaining[r] - fill;
                remaining[r] = rest > S(limits.dust) ? rest : S(0);
                weighted[r] += order.is_notional > 0 ? fill / t.price[at] : fill * t.price[at];
                tracks[r].book(t.price[at], t.close[at], t.volume[at], t.expected[at]);
            }
        }
        std::free(scratch);
        std::free(future);
    }
    std::free(first_row);
    return failed;
}

// Gradients of the weights of one group of tiles: of each layer w [outputs, padded(inputs)], then b [padded(outputs)].
template <class T> Index gradient_size(const Shape &shape, Index layers) {
    Index size = 0;
    for (Index k = 0; k < layers; ++k) {
        const auto [inputs, outputs] = sizes_of(shape.layers, shape.width, k);
        size += outputs * padded<T>(inputs) + padded<T>(outputs);
    }
    return size;
}

// One tile backward.
template <class S, class T> struct Backward {
    const T *context;
    const T *const *weights;
    const Table<S> &t;
    const S *to_fills, *to_remaining, *to_finish;  // gradients of the outputs, [orders, periods]
    T *to_periods;  // gradients of the contexts before each period that an order is live in, [orders, periods, context]
    const Shape &shape;
    const Limits &limits;
    const Packed<T> &packed, &transposed;

    int run(Index tile, const T *kept, T *sums) const;
};

template <class S, class T> int Backward<S, T>::run(Index tile, const T *kept, T *to_weights) const {
    using D = Dual<S>;
    const Index periods = shape.periods, width = shape.width, layers = shape.layers, ld = padded<T>(width);
    const Index ld_answers = padded<T>(OUTPUTS), ld_features = padded<T>(FEATURES);
    const Index first = tile * TILE, count = shape.orders - first < TILE ? shape.orders - first : TILE;
    // Networks: hidden states and slopes of every layer, two gradients, answers and their gradients, features and theirs; inputs
    // in half precision.
    const Index size = TILE * ((2 * (layers + 1) + 2) * ld + 2 * ld_answers + 2 * ld_features + widest_of<T>(shape));
    T *scratch = allocate<T>(size);
    S *reals = allocate<S>(periods * (2 * TILE + (shape.has_exponent ? TILE : 0)));
    auto *markets = allocate<Market<S>>(periods * TILE);
    if (!scratch || !reals || !markets) { std::free(scratch); std::free(reals); std::free(markets); return 1; }
    std::memset(scratch, 0, size * sizeof(T));
    T *hidden = scratch, *slopes = hidden + (layers + 1) * TILE * ld, *to_hidden = slopes + (layers + 1) * TILE * ld;
    T *to_sum = to_hidden + TILE * ld, *answers = to_sum + TILE * ld, *to_answers = answers + TILE * ld_answers;
    T *features = to_answers + TILE * ld_answers, *to_features = features + TILE * ld_features;
    T *pairs = to_features + TILE * ld_features;
    S *weighted = reals, *futures = weighted + periods * TILE, *logs = futures + periods * TILE;
    Order<S> orders[TILE];
    S to_left[TILE], to_weighted[TILE];  // of R and W
    Ahead<S> sums[TILE];
    Ends ends[TILE];
    Anchors<S> to_anchors[TILE];
    Index live[TILE];
    const auto is_live = [&](Index r, Index s) {
        return s < periods_of(orders[r], periods) && t.remaining[(first + r) * periods + s] > 0;
    };

    // What each period began with.
    for (Index r = 0; r < count; ++r) {
        const Index base = (first + r) * periods;
        orders[r] = Order<S>::of(t.columns, t.volatility, shape.orders, first + r);
        if (shape.has_exponent) logs_of(t.expected + base, periods, limits, logs + r * periods);
        to_left[r] = to_weighted[r] = S(0);
        Track<S> track;
        S sum = S(0);
        for (Index s = 0; s < periods && is_live(r, s); ++s) {
            const Index at = base + s;
            markets[s * TILE + r] = track.market, weighted[s * TILE + r] = sum;
            sum += orders[r].is_notional > 0 ? t.fills[at] / t.price[at] : t.fills[at] * t.price[at];
            track.book(t.price[at], t.close[at], t.volume[at], t.expected[at]);
            kept += shape.kept();
        }
    }

    for (Index s = periods; s-- > 0;) {
        const auto own_context = [&](Index r) { return context + t.bars[(first + r) * periods + s] * shape.context(); };
        Index m = 0;
        for (Index r = 0; r < count; ++r) {
            if (is_live(r, s)) live[m++] = r;
            else to_left[r] += to_remaining[(first + r) * periods + s];
        }
        kept -= m * shape.kept();

        // The network again, from what was kept: hidden states, slopes of the activations, answers.
        for (Index k = 0; k < m; ++k) {
            const T *row = kept + k * shape.kept();
            std::memcpy(features + k * ld_features, row, FEATURES * sizeof(T));
            for (Index layer = 0; layer <= layers; ++layer) {
                const T *x = row + FEATURES + layer * width, *before = layer ? hidden + ((layer - 1) * TILE + k) * ld : nullptr;
                T *h = hidden + (layer * TILE + k) * ld, *slope = slopes + (layer * TILE + k) * ld;
                INDEPENDENT for (Index j = 0; j < width; ++j) {
                    const T open = sigmoid(x[j]), silu = x[j] * open;
                    h[j] = silu;
                    slope[j] = open + silu * (T(1) - open);
                }
                if (before) {
                    INDEPENDENT for (Index j = 0; j < width; ++j) h[j] += before[j];
                }
            }
        }
        const T *last = hidden + layers * TILE * ld;
        packed.multiply(layers + 1, last, ld, m, answers, ld_answers, pairs);

        // Decisions and fills.
        for (Index k = 0; k < m; ++k) {
            const Index r = live[k], at = (first + r) * periods + s;
            const Order<S> &order = orders[r];
            const Market<S> &market = markets[s * TILE + r];
            const S left = t.remaining[at];
            S *future = futures + k * periods;
            const Index ahead = periods_of(order, periods) - s;
            const T *outlook = own_context(r) + width, *power = shape.has_exponent ? outlook + shape.horizon : nullptr;
            future_volumes(outlook, power, t.expected + at, logs + r * periods + s, ahead, limits, future);
            ends[k] = ends_of(order, left, s, ahead);
            sums[k] = sums_of(order, future, ahead, ends[k]);
            const auto places = anchors_of(sums[k], weight_so_far(order, market, s));
            T *answer = answers + k * ld_answers, *to_answer = to_answers + k * ld_answers;
            add_to(answer, weights[2 * layers + 3], OUTPUTS);
            const auto path = path_of(order, market, D::seed(left, 0), D(weighted[s * TILE + r]), s, limits);
            const Anchors<D> seeded{D::seed(places.pace, 1), D::seed(places.schedule, 2)};
            const D asked = fraction_of<S>(path, seeded, D::seed(S(answer[0]), 3), D::seed(S(answer[2]), 4),
                                            D::seed(S(answer[3]), 5), limits);
            const D fill = at_most(at_most(at_least(asked, path.lower), path.upper), D(t.capacity[at]));
            const S through = left - fill.value > S(limits.dust) ? to_left[r] : S(0);  // what is left afterwards is no dust
            const S unit = order.is_notional > 0 ? S(1) / t.price[at] : t.price[at];
            const auto along = fill.slopes * (to_fills[at] + to_weighted[r] * unit - through);
            to_left[r] = through + along[0];
            to_anchors[k] = {along[1], along[2]};
            const bool is_free = S(s) + S(1) >= order.minimum && S(s) + S(1) < order.maximum;
            const S stop = sigmoid(S(answer[1]));
            to_answer[0] = T(along[3]), to_answer[2] = T(along[4]), to_answer[3] = T(along[5]);
            to_answer[1] = is_free ? T(to_finish[at] * stop * (S(1) - stop)) : T(0);
        }

        // The network, and the gradients of its weights.
        T *part = to_weights + gradient_size<T>(shape, layers + 1);
        packed.gradient(layers + 1, to_answers, ld_answers, last, ld, m, part, pairs);
        part += OUTPUTS * ld;
        for (Index k = 0; k < m; ++k) add_to(part, to_answers + k * ld_answers, OUTPUTS);
        transposed.multiply(layers + 1, to_answers, ld_answers, m, to_hidden, ld, pairs);
        for (Index layer = layers;; --layer) {
            for (Index k = 0; k < m; ++k) {
                const T *slope = slopes + (layer * TILE + k) * ld, *above = to_hidden + k * ld;
                T *to = to_sum + k * ld;
                INDEPENDENT for (Index j = 0; j < width; ++j) to[j] = above[j] * slope[j];
            }
            const T *inputs = layer ? hidden + (layer - 1) * TILE * ld : features;
            const Index ld_inputs = layer ? ld : ld_features;
            part = to_weights + gradient_size<T>(shape, layer);
            packed.gradient(layer, to_sum, ld, inputs, ld_inputs, m, part, pairs);
            part += width * ld_inputs;
            for (Index k = 0; k < m; ++k) add_to(part, to_sum + k * ld, width);
            if (layer == 0) break;
            transposed.multiply(layer, to_sum, ld, m, to_hidden, ld, pairs, true);
        }
        transposed.multiply(0, to_sum, ld, m, to_features, ld_features, pairs);

        // Features and anchors, down to R, W and the context.
        for (Index k = 0; k < m; ++k) {
            const Index r = live[k], at = (first + r) * periods + s;
            const Order<S> &order = orders[r];
            const Market<S> &market = markets[s * TILE + r];
            const Index ahead = periods_of(order, periods) - s;
            const auto path = path_of(order, market, D::seed(t.remaining[at], 0), D::seed(weighted[s * TILE + r], 1), s, limits);
            const Ahead<D> seeded{D::seed(sums[k].next, 2), D::seed(sums[k].to_end, 3), D::seed(sums[k].to_finish, 4),
                                  D::seed(sums[k].to_minimum, 5), D::seed(sums[k].volume, 6), D::seed(sums[k].volume_left, 7)};
            Puller<T, S> puller{to_features + k * ld_features};
            path_features(order, market, s, t.expected[at], path, seeded, limits, puller);
            const auto places = anchors_of(seeded, weight_so_far(order, market, s));
            const auto along = puller.sum + places.pace.slopes * to_anchors[k].pace + places.schedule.slopes * to_anchors[k].schedule;
            to_left[r] += to_remaining[at] + along[0];
            to_weighted[r] += along[1];

            T *to = to_periods + at * shape.context();
            std::memcpy(to, to_sum + k * ld, width * sizeof(T));
            std::memset(to + width, 0, (shape.context() - width) * sizeof(T));
            const T *outlook = own_context(r) + width;
            const S *future = futures + k * periods, limit = S(limits.outlook);
            const S by_volume = order.is_twap > 0 ? S(0) : S(1);  // weights of the TWAP are not forecast
            S to_exponent = S(0);
            for (Index q = 0; q < ahead; ++q) {
                const S to_weight = along[3] + (q == 0 ? along[2] : S(0)) + (q < ends[k].finish ? along[4] : S(0)) +
                                    (q < ends[k].minimum ? along[5] : S(0));
                const S gradient = (by_volume * to_weight + along[7] + (q == 0 ? along[6] : S(0))) * future[q];
                if (S(outlook[q]) >= -limit && S(outlook[q]) <= limit) to[width + q] = T(gradient);
                if (shape.has_exponent) to_exponent += gradient * logs[r * periods + s + q];
            }
            if (shape.has_exponent) {
                const S share = S(sigmoid(outlook[shape.horizon]));
                to[width + shape.horizon] = T(to_exponent * S(2) * share * (S(1) - share));
            }
        }
    }
    std::free(scratch);
    std::free(reals);
    std::free(markets);
    return 0;
}

// Gradients of the contexts, each the sum over the periods that read it in the order of the orders.
template <class S, class T> void gather(const Table<S> &t, const T *to_periods, T *to_context, const Shape &shape, int threads) {
    const Index width = shape.context();
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int part = 0; part < threads; ++part) {
        const Index begin = shape.bars * part / threads, end = shape.bars * (part + 1) / threads;
        std::memset(to_context + begin * width, 0, (end - begin) * width * sizeof(T));
        for (Index i = 0; i < shape.orders; ++i) {
            const Index live = periods_of(Order<S>::of(t.columns, t.volatility, shape.orders, i), shape.periods);
            for (Index at = i * shape.periods; at < i * shape.periods + live && t.remaining[at] > 0; ++at)
                if (t.bars[at] >= begin && t.bars[at] < end) add_to(to_context + t.bars[at] * width, to_periods + at * width, width);
        }
    }
}

template <class S, class T>
int roll_backward(const T *context, const T *const *weights, S *const *arrays, const T *kept, T *to_context, T *const *to_weights,
                  const Shape &shape, const Limits &limits, int threads) {
    const Table<S> t = table_of(arrays);
    const Packed<T> packed(weights, shape.layers, shape.width, false, shape.half_products), transposed(weights, shape.layers, shape.width, true, shape.half_products);
    const Index tiles = shape.tiles(), each = (tiles + MOST_GROUPS - 1) / MOST_GROUPS, layers = shape.layers + 2;
    const Index groups = tiles ? (tiles + each - 1) / each : 0, size = gradient_size<T>(shape, layers);
    Index *first_row = allocate<Index>(tiles + 1);
    T *sums = allocate<T>(groups * size), *to_periods = allocate<T>(shape.orders * shape.periods * shape.context());
    if (!packed.is_complete() || !transposed.is_complete() || !first_row || !sums || !to_periods) {
        std::free(first_row);
        std::free(sums);
        std::free(to_periods);
        return 1;
    }
    rows_of_tiles(t, shape, first_row);
    const Backward<S, T> backward{context, weights, t, arrays[12], arrays[13], arrays[14], to_periods, shape, limits, packed, transposed};
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(| : failed)
    for (Index group = 0; group < groups; ++group) {
        std::memset(sums + group * size, 0, size * sizeof(T));
        for (Index tile = group * each; tile < tiles && tile < (group + 1) * each; ++tile)
            failed |= backward.run(tile, kept + first_row[tile] * shape.kept(), sums + group * size);
    }
    for (Index k = 0; k < layers; ++k) {
        const auto [inputs, outputs] = sizes_of(shape.layers, shape.width, k);
        const T *part = sums + gradient_size<T>(shape, k);
        for (Index row = 0; row <= outputs; ++row, part += padded<T>(inputs)) {
            T *to = row < outputs ? to_weights[2 * k] + row * inputs : to_weights[2 * k + 1];
            const Index n = row < outputs ? inputs : outputs;
            std::memset(to, 0, n * sizeof(T));
            for (Index group = 0; group < groups; ++group) add_to(to, part + group * size, n);
        }
    }
    if (!failed) gather(t, to_periods, to_context, shape, threads);
    std::free(first_row);
    std::free(sums);
    std::free(to_periods);
    return failed;
}

}  // namespace

// `double_state`: whether the arrays are of double precision; else they are of the type of the weights. `half_products`: see
// Packed.
#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_flexible_roll_forward_##SUFFIX(const T *context, const T *const *weights, void *const *arrays, T *kept,    \
                                           Index orders, Index periods, Index bars, Index horizon, Index width,        \
                                           Index layers, Index has_exponent, Index half_products, Index double_state,  \
                                           Index to_finish, double outlook, double least, double prior, double edge,   \
                                           double shift, double dust, int threads) {                                   \
        const Shape shape{orders, periods, bars, horizon, width, layers, has_exponent, half_products};                 \
        const Limits limits{outlook, least, prior, edge, shift, dust};                                                 \
        if (double_state)                                                                                              \
            return roll_forward(context, weights, table_of((double *const *)arrays), kept, shape, to_finish, limits,   \
                                threads);                                                                              \
        return roll_forward(context, weights, table_of((T *const *)arrays), kept, shape, to_finish, limits, threads);  \
    }                                                                                                                  \
    int lem_flexible_roll_backward_##SUFFIX(const T *context, const T *const *weights, void *const *arrays,            \
                                            const T *kept, T *to_context, T *const *to_weights, Index orders,          \
                                            Index periods, Index bars, Index horizon, Index width, Index layers,       \
                                            Index has_exponent, Index half_products, Index double_state, double outlook,\
                                            double least, double prior, double edge, double shift, double dust,        \
                                            int threads) {                                                             \
        const Shape shape{orders, periods, bars, horizon, width, layers, has_exponent, half_products};                 \
        const Limits limits{outlook, least, prior, edge, shift, dust};                                                 \
        if (double_state)                                                                                              \
            return roll_backward(context, weights, (double *const *)arrays, kept, to_context, to_weights, shape,       \
                                 limits, threads);                                                                     \
        return roll_backward(context, weights, (T *const *)arrays, kept, to_context, to_weights, shape, limits,        \
                             threads);                                                                                 \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
