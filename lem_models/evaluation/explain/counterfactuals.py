"""Counterfactuals: what the model would decide, had the last bars or the order been others.

The changed bars go through the whole pipeline: features, volatility, expected volumes, the state of the order. Fills so
far stay the fractions that they were, at the changed bars' prices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from lem_models.errors import ConfigError
from lem_models.evaluation.explain.situation import CHANGEABLE, Situation
from lem_models.guard.text import shown

__all__ = ["Counterfactual", "compare_counterfactuals", "usual_counterfactuals"]

_MOST_BARS = 64
_MOST_MOVE = 20.0


@dataclass(frozen=True)
class Counterfactual:
    """What is changed.

    Args:
        label: A clause in words: ``"the last bar's volume had been twice as large"``.
        volume: Factor of the volumes of the last bars, positive.
        move: Bar volatilities by which all prices of these bars are higher, at most 20 either way.
        bars: Number of last bars that are changed, 1 to 64.
        order: Other fields of the order: ``benchmark``, ``min_periods``, ``min_rate``, ``max_rate``,
            ``risk_aversion`` or ``amount``.
        on_curve: Whether the order had filled by its expected volume curve so far.

    Raises:
        ConfigError: A number is out of its range, or the order has no such field.
    """

    label: str
    volume: float = 1.0
    move: float = 0.0
    bars: int = 1
    order: Mapping[str, object] = field(default_factory=dict)
    on_curve: bool = False

    def __post_init__(self) -> None:
        """Check the numbers before anything is computed."""
        if not (0 < self.volume < math.inf):
            raise ConfigError(f"volume is a positive factor; got {shown(self.volume)}")
        if not abs(self.move) <= _MOST_MOVE:
            raise ConfigError(f"move is at most {_MOST_MOVE:g} bar volatilities; got {shown(self.move)}")
        if isinstance(self.bars, bool) or not 1 <= self.bars <= _MOST_BARS:
            raise ConfigError(f"bars is 1 to {_MOST_BARS}; got {shown(self.bars)}")
        wrong = [name for name in self.order if name not in CHANGEABLE]
        if wrong:
            raise ConfigError(f"a counterfactual changes {', '.join(CHANGEABLE)} of the order; got {shown(wrong[0])}")


def usual_counterfactuals(situation: Situation) -> list[Counterfactual]:
    """The counterfactuals of an explanation that names none."""
    aversion = float(situation.table["risk_aversion"].iloc[0])
    usual = [
        Counterfactual("the last bar's volume had been twice as large", volume=2.0),
        Counterfactual("the last bar's volume had been half as large", volume=0.5),
        Counterfactual("the last bar had been one bar volatility higher", move=1.0),
        Counterfactual("the last bar had been one bar volatility lower", move=-1.0),
    ]
    if aversion > 0:
        usual.append(
            Counterfactual("the risk aversion were ten times as large", order={"risk_aversion": 10 * aversion})
        )
        usual.append(Counterfactual("the risk aversion were a tenth", order={"risk_aversion": aversion / 10}))
    if situation.period:
        usual.append(Counterfactual("it had filled by the expected volume curve so far", on_curve=True))
    return usual


def compare_counterfactuals(situation: Situation, counterfactuals: Sequence[Counterfactual]) -> pd.DataFrame:
    """What the model would decide.

    Returns:
        A row per counterfactual: ``label``, ``fraction`` and ``finish`` (its decision), ``traded`` (fraction that it
        sends, which is the rest if it finishes), and their changes against the decision as it was,
        ``fraction_change``, ``finish_change``, ``traded_change``.

    Raises:
        ConfigError: A counterfactual reaches before the history.
        OrderError: An order breaks a rule.
    """
    was = situation.answer()
    rows = []
    for each in counterfactuals:
        changed = situation.changed(volume=each.volume, move=each.move, bars=each.bars, order=each.order)
        would = changed.answer(situation.neutral.fills if each.on_curve else None)
        rows.append(
            {
                "label": each.label,
                "fraction": would.fraction,
                "finish": would.finish,
                "traded": would.traded,
                "fraction_change": would.fraction - was.fraction,
                "finish_change": would.finish - was.finish,
                "traded_change": would.traded - was.traded,
            }
        )
    names = ["label", "fraction", "finish", "traded", "fraction_change", "finish_change", "traded_change"]
    return pd.DataFrame(rows, columns=names)
