"""The sign convention and the definitions that every report prints."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEFINITIONS", "SIGN_CONVENTION"]

SIGN_CONVENTION = (
    "slippage = side \u00d7 (executed / benchmark \u2212 1) \u00d7 1e4 bps, positive = cost; improvement is minus that"
)
"""The sign convention, printed on every report; side is +1 for a buy and -1 for a sell."""

DEFINITIONS: Mapping[str, str] = {
    "Improvement": (
        "Minus the slippage: positive is better than the benchmark. Side is +1 for a buy, \u22121 for a sell."
    ),
    "Executed price": (
        "Mean price of the fills, weighted by the fractions traded (harmonic for a notional target). A fill is at the "
        "VWAP of its bar. Gross of costs unless a number says net."
    ),
    "Benchmark price": (
        "VWAP (volume-weighted) or TWAP (plain mean) of the bars from the start of the order to its end, and at least "
        "over its minimum duration. When a flexible order ends, so does its benchmark."
    ),
    "Bar volatility": (
        "Standard deviation of one bar's return as known when the order starts; improvements in bar volatilities are "
        "divided order by order."
    ),
    "Interval": (
        "95 % bootstrap over blocks of consecutive days, all orders of a day together. Orders that are close in time "
        "share the market's moves, so they are not independent observations."
    ),
    "Option value": (
        "Improvement on the martingale null, where each bar is reflected about the previous close with a random sign. "
        "Sizes of moves and volumes stay, and nothing is left to forecast: the value of choosing when to end."
    ),
    "Above the null": (
        "Improvement minus the option value. Policies that forecast nothing earn some of it too, so it is not skill."
    ),
    "Information": (
        "Improvement minus that of the same policy with contexts of null bars, on the same real path, order by order. "
        "Control: the same difference on paths of the null, where contexts tell an order about its own path."
    ),
    "Placebo": (
        "A policy that forecasts nothing, at the risk aversion at which its standard deviation is the nearest to that "
        "of the policy under test."
    ),
}
"""Definitions printed at the top of a report, term by term."""
