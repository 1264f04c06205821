"""An explanation in plain words, and the names of what is attributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lem_models.evaluation.explain.situation import Answer
from lem_models.evaluation.outlook.forecast import Forecast

__all__ = ["ATTENTION_NOTE", "explanation_text", "input_label"]

ATTENTION_NOTE = (
    "Selection weights and attention say where the network looks, not why it decides: they are no explanation."
)

_LABELS: Mapping[str, str] = {
    "return_vwap": "return of the VWAP",
    "return_close": "return of the close",
    "close_to_vwap": "close against the VWAP",
    "gap": "opening gap",
    "close_in_range": "close in the bar's range",
    "vwap_in_range": "VWAP in the bar's range",
    "return_times_volume": "return times volume",
    "range": "range of the bar",
    "volume_to_level": "volume against its recent level",
    "volume_to_profile": "volume against its time of day",
    "volume_trend": "trend of the volume",
    "volatility_trend": "trend of the volatility",
    "profile_to_level": "usual volume of the time of day",
    "time_sin": "time of the session (sine)",
    "time_cos": "time of the session (cosine)",
    "week_sin": "time of the week (sine)",
    "week_cos": "time of the week (cosine)",
    "left": "what is left to trade",
    "prices": "prices since the start, own and market's",
    "volumes": "volumes since the start",
}
_MOST_CAUSES = 3
_LEAST = 5e-4  # a change that is printed


def input_label(name: str) -> str:
    """A feature or a part of the path in words.

    Example:
        >>> input_label("momentum_24"), input_label("mine")
        ('return of 24 bars', 'mine')
    """
    kind, _, number = name.rpartition("_")
    if kind == "momentum" and number.isdigit():
        return f"return of {number} bars"
    return _LABELS.get(name, name.replace("_", " "))


def explanation_text(
    *,
    model: str,
    order: Mapping[str, Any],
    period: int,
    bar: pd.Timestamp,
    filled: float,
    answer: Answer,
    reference: tuple[float, float],
    target: str,
    attributions: pd.DataFrame,
    counterfactuals: pd.DataFrame,
    forecast: Forecast | None,
    notes: tuple[str, ...],
) -> str:
    """One paragraph; see :class:`~lem_models.evaluation.explain.explanation.Explanation`."""
    sentences = [_decision(model, order, period, bar, filled, answer)]
    place = 0 if target == "fraction" else 1
    sentences.append(_causes(target, reference[place], attributions, finishes=answer.finishes))
    sentences += [_counterfactual(counterfactuals, answer, target)] if len(counterfactuals) else []
    sentences += [_future(forecast)] if forecast is not None else []
    return " ".join([*sentences, *(note[:1].upper() + note[1:].rstrip(".") + "." for note in notes), ATTENTION_NOTE])


def _decision(
    model: str, order: Mapping[str, Any], period: int, bar: pd.Timestamp, filled: float, answer: Answer
) -> str:
    last, least = int(order["max_periods"]), int(order["min_periods"])
    span = f"of {last}" if least == last else f"of {least} to {last}"
    done = f", {_percent(filled)} filled" if period else ""
    begin = (
        f"Before bar {period + 1} {span} (from {bar:%Y-%m-%d %H:%M} UTC) of order {order['order_id']}, a "
        f"{order['side']} of {order['symbol']} against {order['benchmark']}{done}, {model} "
    )
    if answer.finishes:
        whole = "the rest" if answer.upper >= 1 - filled - 1e-9 else "at the cap until done"
        return (
            begin
            + f"finishes: its probability of finishing is {_percent(answer.finish)}, above one half, so it trades "
            f"{whole}, {_percent(answer.traded)} of the order."
        )
    rest = 1.0 - filled
    pace = rest / (last - period)
    pace_text = f"the even pace of what is left would be {_percent(pace)}"
    may = (
        "it may not finish yet" if period + 1 < least else f"its probability of finishing is {_percent(answer.finish)}"
    )
    return begin + f"trades {_percent(answer.fraction)} of the order ({pace_text}) and goes on ({may})."


def _causes(target: str, reference: float, attributions: pd.DataFrame, *, finishes: bool) -> str:
    what = _what(target, finishes=finishes)
    total = float(attributions[target].sum())
    begin = (
        f"With average bars and an order on its volume curve in a still market {what} would be {_percent(reference)}; "
        f"it is {_percent(reference + total)}, {_points(total)} percentage points"
    )
    shown = attributions.assign(size=attributions[target].abs())
    shown = shown[shown["size"] >= _LEAST].sort_values("size", ascending=False, kind="stable").head(_MOST_CAUSES)
    if not len(shown):
        return begin + "; no input moves it."
    parts = [f"{input_label(row['name'])} {_points(row[target])}" for row in shown.to_dict("records")]
    return begin + f"; the largest contributions, in percentage points: {', '.join(parts)}."


def _what(target: str, *, finishes: bool) -> str:
    """What is attributed. Where the model finishes, its fraction is what it would trade if it went on."""
    if target == "finish":
        return "the probability of finishing"
    return "the fraction that it would trade if it went on" if finishes else "the fraction"


def _counterfactual(counterfactuals: pd.DataFrame, answer: Answer, target: str) -> str:
    change = f"{target}_change"
    largest = counterfactuals.iloc[int(counterfactuals[change].abs().argmax())]
    value = float(largest[target])
    if abs(float(largest[change])) < _LEAST:
        return "None of the changes looked at would move the decision."
    turned = (float(largest["finish"]) > 0.5) != answer.finishes
    outcome = ""
    if turned:
        outcome = ", and it would finish" if not answer.finishes else ", and it would go on"
    what = _what(target, finishes=answer.finishes)
    return f"If {largest['label']}, {what} would be {_percent(value)}{outcome}."


def _future(forecast: Forecast) -> str:
    band = forecast.slippage_bps
    text = (
        f"On {forecast.paths} simulated paths the whole order ends with a slippage of {band.low:+.1f} to "
        f"{band.high:+.1f} bps against {forecast.benchmark} (80 %, positive = cost, before costs)"
    )
    if forecast.complete < 1:
        text += f", and on {_percent(1 - forecast.complete)} of them something is left"
    return text + "."


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
