// One period of the flexible head: what it knows of an order, its path features, its decision, and the fill. Shared by the
// decision of live orders (flexible_decision.cpp) and the roll-out over all periods (flexible_roll.cpp).
//
// The features are those of path_state.py, in the same order; network and decision are in flexible.py; bounds and bookings are
// those of execution/roll.py. Orders and prices are of the type S, the network of the type T of its weights. What an order's
// own decisions have changed is of the type N: a number S, or a Dual<S>, which carries derivatives along. So every formula
// stands here once, and its derivative follows from it.

#pragma once
#include "common.h"

namespace {

constexpr Index FEATURES = 52, OUTPUTS = 4;

// Columns of orders, [ORDER_COLUMNS, orders].
enum { SIDE, IS_TWAP, IS_NOTIONAL, MIN_PERIODS, MAX_PERIODS, MIN_RATE, MAX_RATE, RISK_AVERSION, IMPACT, IS_FULL, IS_ARRIVAL };

struct Limits {
    double outlook, expected, prior, edge, shift, dust;
};

// ---- numbers with derivatives ----------------------------------------------------------------------------------------

template <class S> using Same = typename std::common_type<S>::type;  // no deduction: literals convert
template <class S> using Real = typename std::enable_if<std::is_floating_point<S>::value, S>::type;

template <class S> INLINE Real<S> at_least(S x, Same<S> low) { return x < low ? low : x; }
template <class S> INLINE Real<S> at_most(S x, Same<S> high) { return x > high ? high : x; }
template <class S> INLINE Real<S> clamp(S x, Same<S> low, Same<S> high) { return x < low ? low : (x > high ? high : x); }
template <class S> INLINE Real<S> logarithm(S x) { return std::log(x); }
template <class S> INLINE Real<S> root(S x) { return std::sqrt(x); }
template <class S> INLINE Real<S> value_of(S x) { return x; }

constexpr int SEEDS = 8;  // most variables that derivatives are taken for

template <class S> struct Dual {
    typedef S Slopes __attribute__((vector_size(SEEDS * sizeof(S))));
    S value;
    Slopes slopes;

    Dual() = default;
    INLINE_MEMBER Dual(S constant) : value(constant), slopes(Slopes{}) {}
    INLINE_MEMBER Dual(S at, Slopes along) : value(at), slopes(along) {}
    INLINE_MEMBER static Dual seed(S at, int number) {
        Dual made(at);
        made.slopes[number] = S(1);
        return made;
    }

    INLINE_MEMBER friend Dual operator+(const Dual &a, const Dual &b) { return {a.value + b.value, a.slopes + b.slopes}; }
    INLINE_MEMBER friend Dual operator-(const Dual &a, const Dual &b) { return {a.value - b.value, a.slopes - b.slopes}; }
    INLINE_MEMBER friend Dual operator*(const Dual &a, const Dual &b) {
        return {a.value * b.value, a.slopes * b.value + b.slopes * a.value};
    }
    INLINE_MEMBER friend Dual operator/(const Dual &a, const Dual &b) {
        const S inverse = S(1) / b.value, ratio = a.value * inverse;
        return {ratio, (a.slopes - b.slopes * ratio) * inverse};
    }
    INLINE_MEMBER friend Dual operator+(const Dual &a, S b) { return {a.value + b, a.slopes}; }
    INLINE_MEMBER friend Dual operator+(S a, const Dual &b) { return b + a; }
    INLINE_MEMBER friend Dual operator-(const Dual &a, S b) { return {a.value - b, a.slopes}; }
    INLINE_MEMBER friend Dual operator-(S a, const Dual &b) { return {a - b.value, -b.slopes}; }
    INLINE_MEMBER friend Dual operator*(const Dual &a, S b) { return {a.value * b, a.slopes * b}; }
    INLINE_MEMBER friend Dual operator*(S a, const Dual &b) { return b * a; }
    INLINE_MEMBER friend Dual operator/(const Dual &a, S b) { return a * (S(1) / b); }
    INLINE_MEMBER friend Dual operator/(S a, const Dual &b) { return Dual(a) / b; }

    INLINE_MEMBER friend Dual at_least(const Dual &x, const Dual &low) { return x.value < low.value ? low : x; }
    INLINE_MEMBER friend Dual at_most(const Dual &x, const Dual &high) { return x.value > high.value ? high : x; }
    INLINE_MEMBER friend Dual clamp(const Dual &x, const Dual &low, const Dual &high) { return at_most(at_least(x, low), high); }
    INLINE_MEMBER friend Dual logarithm(const Dual &x) { return {std::log(x.value), x.slopes / x.value}; }
    INLINE_MEMBER friend Dual root(const Dual &x) {
        const S value = std::sqrt(x.value);
        return {value, x.slopes * (S(0.5) / value)};
    }
    INLINE_MEMBER friend Dual sigmoid(const Dual &x) {
        const S share = ::sigmoid(x.value);
        return {share, x.slopes * (share * (S(1) - share))};
    }
    INLINE_MEMBER friend S value_of(const Dual &x) { return x.value; }
};

// ---- an order and its market -------------------------------------------------------------------------------------------

template <class S> struct Order {
    S side, is_twap, is_notional, minimum, maximum, min_rate, max_rate, risk_aversion, impact, is_full, is_arrival, volatility;

    // Order `i` of columns [ORDER_COLUMNS, orders].
    static Order of(const S *columns, const S *volatility, Index orders, Index i) {
        const auto column = [&](int number) { return columns[number * orders + i]; };
        return {column(SIDE),     column(IS_TWAP),  column(IS_NOTIONAL),   column(MIN_PERIODS), column(MAX_PERIODS),
                column(MIN_RATE), column(MAX_RATE), column(RISK_AVERSION), column(IMPACT),
                column(IS_FULL),  column(IS_ARRIVAL), volatility[i]};
    }
};

// What the order's bars have shown so far, whatever the order did.
template <class S> struct Market {
    S last_price = S(1), price_before = S(1), last_close = S(1), vwap = S(1), twap = S(1);
    S volume = S(0), expected = S(0), last_volume = S(0), last_expected = S(0), low = S(INFINITY), high = S(-INFINITY);

    // One more bar; its averages are the caller's.
    INLINE_MEMBER void see(S price, S volume_of_bar, S expected_of_bar) {
        price_before = last_price, last_price = price;
        last_volume = volume_of_bar, last_expected = expected_of_bar;
        volume += volume_of_bar, expected += expected_of_bar;
        const S positive = at_least(price, 1e-6);
        low = at_most(low, positive), high = at_least(high, positive);
    }
};

// The order's own path: what is left, the feasible interval, the average price of what was traded.
template <class N> struct Path {
    N remaining, lower, upper, executed;
};

// Expected weights in the benchmark: of this period, and of the periods up to some ends. Expected volumes of this period and of
// all periods left.
template <class N> struct Ahead {
    N next, to_end, to_finish, to_minimum, volume, volume_left;
};

// Places in the feasible interval: the pace as a share of what is left, the schedule's fraction.
template <class N> struct Anchors {
    N pace, schedule;
};

template <class S> INLINE S weight_so_far(const Order<S> &o, const Market<S> &market, Index period) {
    return o.is_twap > 0 ? S(period) : market.volume;
}

// Expected volumes of the `left` periods from now to the maximum, [left]; `power` may be null. `expected` begins with this
// period, `log_expected` too (read with a power alone).
template <class S, class T>
INLINE void future_volumes(const T *outlook, const T *power, const S *__restrict expected, const S *__restrict log_expected,
                           Index left, const Limits &limits, S *__restrict future) {
    const S limit = S(limits.outlook);
    if (power) {
        const S exponent = S(2) * S(sigmoid(*power));
        INDEPENDENT for (Index k = 0; k < left; ++k)
            future[k] = exponential(exponent * log_expected[k] + clamp(S(outlook[k]), -limit, limit));
    } else {
        INDEPENDENT for (Index k = 0; k < left; ++k)
            future[k] = expected[k] * exponential(clamp(S(outlook[k]), -limit, limit));
    }
}

// Periods from now until the order has traded at the cap what is left, but not before the minimum, and to the minimum (0:
// reached); at most `left`. A benchmark over the full horizon ends with it.
struct Ends {
    Index finish, minimum;
};

template <class S> INLINE Ends ends_of(const Order<S> &o, S remaining, Index period, Index left) {
    const S s = S(period), most = S(left);
    if (o.is_full > 0) return {left, left};
    const S needed = at_least(std::ceil(remaining / o.max_rate - S(1e-6)), 1);
    const S finish = clamp(at_least(needed, o.minimum - s), S(1), most);
    return {finish == finish ? Index(finish) : Index(1), Index(clamp(o.minimum - s, S(0), most))};
}

template <class S> INLINE Ahead<S> sums_of(const Order<S> &o, const S *future, Index left, const Ends &ends) {
    Ahead<S> ahead{future[0], S(0), S(0), S(0), future[0], S(0)};
    for (Index k = 0; k < left; ++k) {
        ahead.to_end += future[k];
        if (k + 1 == ends.finish) ahead.to_finish = ahead.to_end;
        if (k + 1 == ends.minimum) ahead.to_minimum = ahead.to_end;
    }
    ahead.volume_left = ahead.to_end;
    if (o.is_twap > 0) ahead.next = S(1), ahead.to_end = S(left), ahead.to_finish = S(ends.finish), ahead.to_minimum = S(ends.minimum);
    return ahead;
}

// The feasible interval and the average price, from what is left and the sum of fills times prices (over, for a notional).
template <class N, class S>
INLINE Path<N> path_of(const Order<S> &o, const Market<S> &market, const N &remaining, const N &weighted, Index period,
                       const Limits &limits) {
    const S dust = S(limits.dust), reserve = o.max_rate * at_least(o.maximum - S(1) - S(period), 0);
    const N upper = at_most(remaining, N(o.max_rate));
    const N least = at_least(remaining - reserve, at_most(remaining, N(o.min_rate)));
    const N lower = at_most(value_of(least) > dust ? least : N(S(0)), upper);
    const N filled = S(1) - remaining;
    if (!(value_of(filled) > dust)) return {remaining, lower, upper, N(market.last_close)};
    return {remaining, lower, upper, o.is_notional > 0 ? filled / weighted : weighted / filled};
}

// ---- features ------------------------------------------------------------------------------------------------------------

template <class S> constexpr S LEAST_VOLUME = S(0.05);

// Calls `out` with one feature after the other. A feature of the type S does not depend on the order's own path. `expected` is
// that of this period.
template <class N, class S, class Out>
INLINE void path_features(const Order<S> &o, const Market<S> &market, Index period, S expected, const Path<N> &path,
                          const Ahead<N> &ahead, const Limits &limits, Out &out) {
    const S s = S(period), past = weight_so_far(o, market, period), scale = o.side / o.volatility;
    const S close = market.last_close, scale_of_horizon = std::sqrt(o.maximum / S(12));
    const S benchmark = o.is_arrival > 0 ? S(1) : o.is_twap > 0 ? market.twap : market.vwap;
    const S left = at_least(o.maximum - s, 1), prior = S(limits.prior), quiet = S(0.05);
    const N filled = S(1) - path.remaining;
    const N average = filled * path.executed + path.remaining * close;  // executed price if the rest trades at the close
    const auto gain = [&](auto reference, auto price) { return scale * logarithm(reference / price); };
    const auto after = [&](const N &weight) {
        return o.is_arrival > 0 ? N(S(1)) : (past * benchmark + weight * close) / at_least(past + weight, S(1e-6));
    };
    const auto share = [&](const N &weight) { return past / at_least(past + weight, S(1e-6)); };
    const S one = gain(market.low, close), other = gain(market.high, close);
    const N share_past = share(ahead.to_end), fills_gain = filled * gain(benchmark, path.executed);
    const N after_finish = gain(after(ahead.to_finish), average), after_end = gain(after(ahead.to_end), average);
    const S best = period ? at_most(one, other) : S(0), worst = period ? at_least(one, other) : S(0);
    const N rest = o.impact * path.remaining * root(at_least(path.remaining, S(1e-12)));
    const auto rest_within = [&](const N &volume) { return rest / root(at_least(volume, LEAST_VOLUME<S>)) / scale_of_horizon; };
    out(s / o.maximum);
    out(left / S(12));
    out(at_least(o.minimum - s - S(1), 0) / S(12));
    out(o.minimum <= s + S(1) ? S(1) : S(0));
    out(o.minimum / o.maximum);
    out(S(1) / left);
    out(filled);
    out(path.lower);
    out(path.upper);
    out(o.max_rate);
    out(std::log(o.max_rate * o.maximum));
    out(o.min_rate * o.maximum);
    out(path.remaining / o.max_rate / left);
    out(share_past);
    out(S(2) * (filled - share_past));
    out(share(ahead.to_minimum));
    out(ahead.next / at_least(ahead.to_end, S(1e-6)));
    out(ahead.next / at_least(past + ahead.next, S(1e-6)));
    out(std::log((market.volume + prior) / (market.expected + prior)));
    out(period ? std::log((market.last_volume + quiet) / (market.last_expected + quiet)) : S(0));
    out(std::log(period ? (expected + quiet) / (market.last_expected + quiet) : expected + quiet));
    out((period == 0 ? S(0) : o.is_twap > 0 ? S(1) : market.last_expected) - S(1));
    out(gain(benchmark, close));
    out(fills_gain);
    out(gain(benchmark, market.last_price));
    out(gain(S(1), close));
    out(after_finish);
    out(after_end);
    out(gain(after(ahead.to_minimum), average));
    out(best);
    out(worst);
    out(period > 1 ? gain(market.price_before, market.last_price) : S(0));
    out(std::log(o.risk_aversion + S(0.02)) / S(2));
    out(o.risk_aversion / (S(1) + o.risk_aversion));
    out(o.is_twap);
    out(o.is_notional);
    out(o.is_full);
    out(o.is_arrival);
    out(std::log(o.impact + S(0.02)) / S(2));
    out(o.impact / (S(1) + o.impact));
    out(rest_within(ahead.volume));
    out(rest_within(ahead.volume_left));
    out(filled * (o.impact / std::sqrt(market.volume + prior)));
    out(std::log(o.maximum / S(12)));
    out(gain(benchmark, close) / scale_of_horizon);
    out(fills_gain / scale_of_horizon);
    out(gain(S(1), close) / scale_of_horizon);
    out(after_finish / scale_of_horizon);
    out(after_end / scale_of_horizon);
    out(best / scale_of_horizon);
    out(worst / scale_of_horizon);
    out(after_finish / std::sqrt(left / S(12)));
}

constexpr double FEATURE_LIMIT = 6;

// Writes features.
template <class T> struct Writer {
    T *next;
    template <class S> INLINE_MEMBER void operator()(S feature) { *next++ = T(clamp(feature, -FEATURE_LIMIT, FEATURE_LIMIT)); }
};

// Sums the derivatives of features times the gradients of the loss with respect to them.
template <class T, class S> struct Puller {
    const T *next;
    typename Dual<S>::Slopes sum{};
    INLINE_MEMBER void operator()(S) { ++next; }
    INLINE_MEMBER void operator()(const Dual<S> &feature) {
        const S gradient = S(*next++);
        if (feature.value >= S(-FEATURE_LIMIT) && feature.value <= S(FEATURE_LIMIT)) sum += feature.slopes * gradient;
    }
};

// ---- decision ------------------------------------------------------------------------------------------------------------

template <class N, class S> INLINE Anchors<N> anchors_of(const Ahead<N> &ahead, S past) {
    return {ahead.next / at_least(ahead.to_end, S(1e-6)), (past + ahead.next) / at_least(past + ahead.to_end, S(1e-6))};
}

// The fraction, from the outputs of the network.
template <class S, class N>
INLINE N fraction_of(const Path<N> &path, const Anchors<N> &anchors, const N &tilt, const N &mixture,
                       const N &shift, const Limits &limits) {
    const S edge = S(limits.edge);
    const N room = path.upper - path.lower;
    const auto place = [&](const N &fraction) {
        const N inside = clamp((fraction - path.lower) / at_least(room, S(1e-6)), N(edge), N(S(1) - edge));
        return logarithm(inside / (S(1) - inside));
    };
    const N pace = place(path.remaining * anchors.pace);
    const N schedule = place(anchors.schedule + S(limits.shift) * shift - (S(1) - path.remaining));
    return path.lower + room * sigmoid(tilt + pace + sigmoid(mixture) * (schedule - pace));
}

// ---- network -------------------------------------------------------------------------------------------------------------

// x [n] with its bias added.
template <class T> INLINE void add_to(T *__restrict x, const T *__restrict bias, Index n) {
    INDEPENDENT for (Index j = 0; j < n; ++j) x[j] += bias[j];
}

// Weights of a layer: w [outputs, inputs] and their place among all layers.
struct Sizes {
    Index inputs, outputs;
};
INLINE Sizes sizes_of(Index layers, Index width, Index layer) {
    return {layer ? width : FEATURES, layer <= layers ? width : OUTPUTS};
}

// All layers packed for products with x (or, transposed, with gradients); in half precision if asked for, where the processor
// has it.
template <class T> struct Packed {
    const Index residual, width, count;
    const bool transposed, in_pairs;
    T **layers = nullptr;

    Packed(const T *const *weights, Index residual, Index width, bool transposed, bool half_products)
        : residual(residual), width(width), count(residual + 2), transposed(transposed),
          in_pairs(HAS_PAIRS<T> && half_products) {
        layers = allocate<T *>(count);
        for (Index k = 0; layers && k < count; ++k) {
            const auto [depth, columns] = sizes(k);
            layers[k] = allocate<T>(depth * padded<T>(columns));
            if (!layers[k]) continue;
            pack(weights[2 * k], depth, columns, transposed ? columns : Index(1), transposed ? Index(1) : depth, layers[k]);
            if constexpr (HAS_PAIRS<T>) {
                auto *pairs = reinterpret_cast<Pair *>(layers[k]);
                const T *panel = layers[k];
                for (Index first = 0; in_pairs && first < columns; first += PANEL<T>) {
                    pair_rows(panel, depth, PANEL<T>, pairs);
                    panel += depth * PANEL<T>, pairs += (depth + 1) / 2 * PANEL<T>;
                }
            }
        }
    }
    ~Packed() {
        for (Index k = 0; layers && k < count; ++k) std::free(layers[k]);
        std::free(layers);
    }
    Packed(const Packed &) = delete;
    bool is_complete() const {
        bool complete = layers != nullptr;
        for (Index k = 0; complete && k < count; ++k) complete = layers[k] != nullptr;
        return complete;
    }
    Sizes sizes(Index layer) const {
        const Sizes of = sizes_of(residual, width, layer);
        return transposed ? Sizes{of.outputs, of.inputs} : of;
    }
    // Products with a layer, see `product`; `scratch` [rows * the widest layer, padded], for pairs alone.
    void multiply(Index layer, const T *x, Index ldx, Index rows, T *c, Index ldc, T *scratch, bool add = false) const {
        const auto [depth, columns] = sizes(layer);
        if constexpr (HAS_PAIRS<T>) {
            if (in_pairs) {
                auto *pairs = reinterpret_cast<Pair *>(scratch);
                const Index ld = padded<T>(depth) / 2;
                pair_columns(x, ldx, rows, depth, pairs, ld);
                const auto *packed = reinterpret_cast<const Pair *>(layers[layer]);
                return product(pairs, ld, rows, packed, (depth + 1) / 2, columns, c, ldc, add);
            }
        }
        product(x, ldx, rows, layers[layer], depth, columns, c, ldc, add);
    }
    // Gradients of the weights of a layer, see `outer`, lda and ldb padded; the same scratch.
    void gradient(Index layer, const T *a, Index lda, const T *b, Index ldb, Index depth, T *c, T *scratch) const {
        const auto [columns, rows] = sizes_of(residual, width, layer);
        if constexpr (HAS_PAIRS<T>) {
            if (in_pairs) {
                const Index half = (depth + 1) / 2;
                auto *one = reinterpret_cast<Pair *>(scratch), *other = one + half * lda;
                pair_rows(a, depth, lda, one);
                pair_rows(b, depth, ldb, other);
                return outer(one, lda, other, ldb, half, rows, columns, c, ldb);
            }
        }
        outer(a, lda, b, ldb, depth, rows, columns, c, ldb);
    }
};

// Answers [rows, ld_answers] of the network for features [rows, FEATURES]. Weights: of the path, of each residual layer, of the
// output; w and b each. `context_of(row)` is what the context adds to the first layer. `multiply` is the product with the
// weights of a layer; `keep(row, layer, x)` sees its result, with the bias, before its activation.
template <class T, class Context, class Multiply, class Keep>
INLINE void network(const T *const *weights, Index layers, Index width, const T *features, Index rows, Context context_of,
                    Multiply multiply, Keep keep, T *hidden, T *next, Index ld, T *answers, Index ld_answers) {
    multiply(Index(0), features, FEATURES, FEATURES, width, hidden, ld);
    for (Index r = 0; r < rows; ++r) {
        T *row = hidden + r * ld;
        add_to(row, weights[1], width);
        add_to(row, context_of(r), width);
        keep(r, Index(0), row);
        INDEPENDENT for (Index j = 0; j < width; ++j) row[j] *= sigmoid(row[j]);
    }
    for (Index layer = 1; layer <= layers; ++layer) {
        multiply(layer, hidden, ld, width, width, next, ld);
        for (Index r = 0; r < rows; ++r) {
            T *row = next + r * ld, *sum = hidden + r * ld;
            add_to(row, weights[2 * layer + 1], width);
            keep(r, layer, row);
            INDEPENDENT for (Index j = 0; j < width; ++j) sum[j] += row[j] * sigmoid(row[j]);
        }
    }
    multiply(layers + 1, hidden, ld, width, OUTPUTS, answers, ld_answers);
    for (Index r = 0; r < rows; ++r) add_to(answers + r * ld_answers, weights[2 * layers + 3], OUTPUTS);
}

}  // namespace
