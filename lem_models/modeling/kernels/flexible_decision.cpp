// Decisions of the flexible head for one period of many orders, forward only: what FlexibleHead.decide computes, in one call.
//
// The path features are those of path_state.py, in the same order; the network and the decision are in flexible.py. What is
// known of an order is in double precision, the network in the type T of its weights. An order's result does not depend on the
// other orders.

#include "common.h"

namespace {

constexpr Index FEATURES = 36, TILE = 8;

// Columns of orders [ORDER_COLUMNS, orders] and of what has happened to them [STATE_COLUMNS, orders].
enum { SIDE, IS_TWAP, IS_NOTIONAL, MIN_PERIODS, MAX_PERIODS, MIN_RATE, MAX_RATE, RISK_AVERSION };
enum { REMAINING, LOWER, UPPER, EXECUTED, VWAP, TWAP, LAST_PRICE, LAST_CLOSE, VOLATILITY };

struct Limits {
    double outlook, expected, prior, edge;
};

INLINE double clamp(double x, double low, double high) { return x < low ? low : (x > high ? high : x); }
INLINE double at_least(double x, double low) { return x < low ? low : x; }
INLINE double at_most(double x, double high) { return x > high ? high : x; }

// One order before a period.
struct Order {
    double side, is_twap, is_notional, minimum, maximum, min_rate, max_rate, risk_aversion;
    double remaining, lower, upper, executed, vwap, twap, last_price, last_close, volatility;
    const double *prices, *volumes, *expected;  // [period], [period], [periods]
};

// Weights of the order's bars in its benchmark: the past, and the sums of the future ones up to each period.
struct Weights {
    double past, level, next, to_end;
    const double *cumulative;
};

// Fills `cumulative` [periods - period].
template <class T>
Weights benchmark_weights(const Order &order, Index period, Index periods, const T *outlook, const T *power, const Limits &limits,
                          double *cumulative) {
    const double exponent = power ? 2.0 * double(sigmoid(*power)) : 1.0;
    double volume = 0, expected = 0, sum = 0;
    for (Index k = 0; k < period; ++k) volume += order.volumes[k], expected += order.expected[k];
    const Index left = periods - period;
    for (Index k = 0; k < left; ++k) {
        if (double(period + k) < order.maximum) {
            double promised = order.expected[period + k];
            if (power) promised = std::exp(exponent * std::log(at_least(promised, limits.expected)));
            const double ahead = clamp(double(outlook[k]), -limits.outlook, limits.outlook);
            sum += order.is_twap > 0 ? 1.0 : promised * std::exp(ahead);
        }
        cumulative[k] = sum;
    }
    return {order.is_twap > 0 ? double(period) : volume, std::log((volume + limits.prior) / (expected + limits.prior)),
            cumulative[0], sum, cumulative};
}

template <class T> void path_features(const Order &o, Index period, Index periods, const Weights &weights, T *out) {
    const double s = double(period), past = weights.past, to_end = weights.to_end, next = weights.next;
    const Index last = periods - period - 1;
    const auto up_to = [&](double index) { return weights.cumulative[Index(clamp(index, 0.0, double(last)))]; };
    const double needed = at_least(std::ceil(o.remaining / o.max_rate - 1e-6), 1.0);
    const double to_finish = up_to(at_least(o.minimum - s, needed) - 1.0);
    const double to_minimum = o.minimum > s ? up_to(o.minimum - s - 1.0) : 0.0;
    const double benchmark = o.is_twap > 0 ? o.twap : o.vwap, close = o.last_close, filled = 1.0 - o.remaining;
    const double average = filled * o.executed + o.remaining * close, scale = o.side / o.volatility;
    const auto gain = [&](double reference, double price) { return scale * std::log(reference / price); };
    const auto after = [&](double weight) { return (past * benchmark + weight * close) / at_least(past + weight, 1e-6); };
    double best = 0, worst = 0, last_expected = 0, surprise = 0, step = 0, drift;
    if (period) {
        double low = INFINITY, high = -INFINITY;
        for (Index k = 0; k < period; ++k) {
            const double price = at_least(o.prices[k], 1e-6);
            low = at_most(low, price), high = at_least(high, price);
        }
        const double one = gain(low, close), other = gain(high, close);
        best = at_most(one, other), worst = at_least(one, other);
        const double before = o.expected[period - 1];
        last_expected = o.is_twap > 0 ? 1.0 : before;
        surprise = std::log((o.volumes[period - 1] + 0.05) / (before + 0.05));
        drift = std::log((o.expected[period] + 0.05) / (before + 0.05));
        if (period > 1) step = gain(o.prices[period - 2], o.prices[period - 1]);
    } else {
        drift = std::log(o.expected[0] + 0.05);
    }
    const double share_past = past / at_least(past + to_end, 1e-6), share_minimum = past / at_least(past + to_minimum, 1e-6);
    const double left = at_least(o.maximum - s, 1.0);
    const double features[FEATURES] = {
        s / o.maximum,
        left / 12,
        at_least(o.minimum - s - 1, 0.0) / 12,
        o.minimum <= s + 1 ? 1.0 : 0.0,
        o.minimum / o.maximum,
        1 / left,
        filled,
        o.lower,
        o.upper,
        o.max_rate,
        std::log(o.max_rate * o.maximum),
        o.min_rate * o.maximum,
        o.remaining / o.max_rate / left,
        share_past,
        2 * (filled - share_past),
        share_minimum,
        next / at_least(to_end, 1e-6),
        next / at_least(past + next, 1e-6),
        weights.level,
        surprise,
        drift,
        last_expected - 1,
        gain(benchmark, close),
        filled * gain(benchmark, o.executed),
        gain(benchmark, o.last_price),
        gain(1.0, close),
        gain(after(to_finish), average),
        gain(after(to_end), average),
        gain(after(to_minimum), average),
        best,
        worst,
        step,
        std::log(o.risk_aversion + 0.02) / 2,
        o.risk_aversion / (1 + o.risk_aversion),
        o.is_twap,
        o.is_notional,
    };
    for (Index k = 0; k < FEATURES; ++k) out[k] = T(clamp(features[k], -6.0, 6.0));
}

// Weights: of the path, of each residual layer, of the output; w and b each. Arrays: orders, state, prices, volumes, expected,
// then the results, fraction and finish.
template <class T>
int flexible_decision(const T *context, const T *const *weights, double *const *arrays, Index orders, Index period, Index periods,
                      Index horizon, Index width, Index layers, Index has_exponent, double outlook, double least, double prior,
                      double edge, int threads) {
    const Limits limits{outlook, least, prior, edge};
    const double *columns = arrays[0], *state = arrays[1], *prices = arrays[2], *volumes = arrays[3], *expected = arrays[4];
    double *fraction = arrays[5], *finish = arrays[6];
    const Index columns_of_context = width + horizon + (has_exponent ? 1 : 0);
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < orders; first += TILE) {
        const Index count = orders - first < TILE ? orders - first : TILE;
        T *scratch = allocate<T>(TILE * (FEATURES + 2 * width + 3));
        double *cumulative = allocate<double>(periods - period);
        if (!scratch || !cumulative) { failed |= 1; std::free(scratch); std::free(cumulative); continue; }
        T *features = scratch, *hidden = features + TILE * FEATURES, *next = hidden + TILE * width, *answer = next + TILE * width;
        double pace[TILE], schedule[TILE];
        for (Index r = 0; r < count; ++r) {
            const Index i = first + r;
            const auto column = [&](int number) { return columns[number * orders + i]; };
            const auto known = [&](int number) { return state[number * orders + i]; };
            const Order order{column(SIDE),        column(IS_TWAP),  column(IS_NOTIONAL), column(MIN_PERIODS),
                              column(MAX_PERIODS), column(MIN_RATE), column(MAX_RATE),    column(RISK_AVERSION),
                              known(REMAINING),    known(LOWER),     known(UPPER),        known(EXECUTED),
                              known(VWAP),         known(TWAP),      known(LAST_PRICE),   known(LAST_CLOSE),
                              known(VOLATILITY),   prices + i * period, volumes + i * period, expected + i * periods};
            const T *own = context + i * columns_of_context;
            const T *power = has_exponent ? own + width + horizon : nullptr;
            const Weights sums = benchmark_weights(order, period, periods, own + width, power, limits, cumulative);
            path_features(order, period, periods, sums, features + r * FEATURES);
            pace[r] = order.remaining * (sums.next / at_least(sums.to_end, 1e-6));
            schedule[r] = (sums.past + sums.next) / at_least(sums.past + sums.to_end, 1e-6) - (1.0 - order.remaining);
        }
        const T *const *weight = weights;
        apply(Linear<T>{weight[0], weight[1]}, features, count, FEATURES, width, hidden);
        for (Index r = 0; r < count; ++r) {
            const T *own = context + (first + r) * columns_of_context;
            T *row = hidden + r * width;
            INDEPENDENT for (Index j = 0; j < width; ++j) {
                const T sum = row[j] + own[j];
                row[j] = sum * sigmoid(sum);
            }
        }
        for (Index layer = 0; layer < layers; ++layer) {
            weight += 2;
            apply(Linear<T>{weight[0], weight[1]}, hidden, count, width, width, next);
            INDEPENDENT for (Index j = 0; j < count * width; ++j) hidden[j] += next[j] * sigmoid(next[j]);
        }
        weight += 2;
        apply(Linear<T>{weight[0], weight[1]}, hidden, count, width, Index(3), answer);
        for (Index r = 0; r < count; ++r) {
            const Index i = first + r;
            const double tilt = answer[3 * r], stop = answer[3 * r + 1], mixture = answer[3 * r + 2];
            const double low = state[LOWER * orders + i], room = state[UPPER * orders + i] - low;
            const auto place = [&](double share) {
                const double inside = clamp((share - low) / at_least(room, 1e-6), limits.edge, 1 - limits.edge);
                return std::log(inside / (1 - inside));
            };
            const double a = place(pace[r]), b = place(schedule[r]), anchor = a + sigmoid(mixture) * (b - a);
            fraction[i] = low + room * sigmoid(tilt + anchor);
            finish[i] = sigmoid(stop);
        }
        std::free(scratch);
        std::free(cumulative);
    }
    return failed;
}

}  // namespace

#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_flexible_decision_##SUFFIX(const T *context, const T *const *weights, double *const *arrays, Index orders,  \
                                       Index period, Index periods, Index horizon, Index width, Index layers,          \
                                       Index has_exponent, double outlook, double least, double prior, double edge,    \
                                       int threads) {                                                                  \
        return flexible_decision(context, weights, arrays, orders, period, periods, horizon, width, layers,             \
                                 has_exponent, outlook, least, prior, edge, threads);                                  \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
