// Decisions of the flexible head for one period of many orders, forward only: what FlexibleHead.decide computes, in one call.
//
// What is known of an order is in double precision, the network in the type T of its weights. An order's result does not
// depend on the other orders.

#include "flexible_head.h"

namespace {

constexpr Index FEW = 24;  // orders that the weights serve at a time

// Columns of what has happened to orders, [STATE_COLUMNS, orders].
enum { REMAINING, LOWER, UPPER, EXECUTED, VWAP, TWAP, LAST_PRICE, LAST_CLOSE, VOLATILITY };

// Weights as in flexible_head.h. Arrays: orders, state, prices and volumes [orders, period], expected [orders, periods], then the
// results, fraction and finish.
template <class T>
int flexible_decision(const T *context, const T *const *weights, double *const *arrays, Index orders, Index period, Index periods,
                      Index horizon, Index width, Index layers, Index has_exponent, double outlook, double least, double prior,
                      double edge, double shift, int threads) {
    const Limits limits{outlook, least, prior, edge, shift, 0};
    const double *columns = arrays[0], *state = arrays[1], *prices = arrays[2], *volumes = arrays[3], *expected = arrays[4];
    double *fraction = arrays[5], *finish = arrays[6];
    const Index columns_of_context = width + horizon + (has_exponent ? 1 : 0), left = periods - period;
    const Index ld = padded<T>(width), ld_answers = padded<T>(OUTPUTS);
    const Packed<T> packed(weights, layers, width, false, false);
    if (!packed.is_complete()) return 1;
    int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : failed)
    for (Index first = 0; first < orders; first += FEW) {
        const Index count = orders - first < FEW ? orders - first : FEW;
        T *scratch = allocate<T>(FEW * (FEATURES + 2 * ld + ld_answers));
        double *future = allocate<double>(2 * left), *logs = future + left;
        if (!scratch || !future) { failed |= 1; std::free(scratch); std::free(future); continue; }
        T *features = scratch, *hidden = features + FEW * FEATURES, *next = hidden + FEW * ld, *answers = next + FEW * ld;
        Path<double> paths[FEW];
        Anchors<double> anchors[FEW];
        for (Index r = 0; r < count; ++r) {
            const Index i = first + r;
            const auto known = [&](int number) { return state[number * orders + i]; };
            const auto order = Order<double>::of(columns, state + VOLATILITY * orders, orders, i);
            const double *promised = expected + i * periods;
            Market<double> market;
            for (Index k = 0; k < period; ++k) market.see(prices[i * period + k], volumes[i * period + k], promised[k]);
            market.last_price = known(LAST_PRICE), market.last_close = known(LAST_CLOSE);
            market.vwap = known(VWAP), market.twap = known(TWAP);
            paths[r] = {known(REMAINING), known(LOWER), known(UPPER), known(EXECUTED)};
            const T *own = context + i * columns_of_context + width, *power = has_exponent ? own + horizon : nullptr;
            // After its maximum an order's answers do not matter; its features are those of one more period.
            const Index ahead = Index(clamp(order.maximum - double(period), 1.0, double(left)));
            if (power)
                for (Index k = 0; k < ahead; ++k) logs[k] = std::log(at_least(promised[period + k], least));
            future_volumes(own, power, promised + period, logs, ahead, limits, future);
            const auto sums = sums_of(order, future, ahead, ends_of(order, paths[r].remaining, period, ahead));
            Writer<T> writer{features + r * FEATURES};
            path_features(order, market, period, promised[period], paths[r], sums, limits, writer);
            anchors[r] = anchors_of(sums, weight_so_far(order, market, period));
        }
        const auto multiply = [&](Index layer, const T *x, Index ldx, Index, Index, T *out, Index ldo) {
            packed.multiply(layer, x, ldx, count, out, ldo, nullptr);
        };
        network(weights, layers, width, features, count, [&](Index r) { return context + (first + r) * columns_of_context; },
                multiply, [](Index, Index, const T *) {}, hidden, next, ld, answers, ld_answers);
        for (Index r = 0; r < count; ++r) {
            const T *answer = answers + r * ld_answers;
            fraction[first + r] = fraction_of<double>(paths[r], anchors[r], double(answer[0]), double(answer[2]), double(answer[3]),
                                                   limits);
            finish[first + r] = sigmoid(double(answer[1]));
        }
        std::free(scratch);
        std::free(future);
    }
    return failed;
}

}  // namespace

#define EXPORT(T, SUFFIX)                                                                                              \
    int lem_flexible_decision_##SUFFIX(const T *context, const T *const *weights, double *const *arrays, Index orders, \
                                       Index period, Index periods, Index horizon, Index width, Index layers,          \
                                       Index has_exponent, double outlook, double least, double prior, double edge,    \
                                       double shift, int threads) {                                                    \
        return flexible_decision(context, weights, arrays, orders, period, periods, horizon, width, layers,            \
                                 has_exponent, outlook, least, prior, edge, shift, threads);                           \
    }

extern "C" {
EXPORT(float, f32)
EXPORT(double, f64)
}
