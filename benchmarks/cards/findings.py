"""Findings of a recorded run: sentences that are derived from its numbers, for model cards.

A claim is made only if the record supports it: "ahead" and "behind" of a rival are mean differences, order by order,
whose p-value adjusted for all rows of the table (Holm) is below 5 %, mean and test in one unit; what is above the null
or a ratio of standard deviations is called significant when its 95 % interval leaves out 0 or 1. Whether a model tracks
closer is what :func:`~lem_models.statistics.tracking.tracking_verdict` says, and whether it is better at equal or lower
risk what :mod:`lem_models.statistics.dominance` says. What is not significant, or negative, is stated as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from benchmarks.records import RecordedRun, Row
from lem_models.report.numbers import interval, number
from lem_models.statistics.accuracy_tests import holm
from lem_models.statistics.dominance import judged
from lem_models.statistics.tracking import tracking_verdict

ALPHA = 0.05
"""Level of the tests: an adjusted p-value below it is significant."""

Outcome = Literal["ahead", "level", "behind"]


def outcome(difference: Row) -> Outcome:
    """Whether a model is significantly ahead of or behind another policy, or neither."""
    mean, p_value = difference["mean_vol"], difference["p_holm_vol"]
    if p_value is None or mean is None or not p_value < ALPHA:
        return "level"
    return "ahead" if mean > 0 else "behind"


def models_of(run: RecordedRun, among: Iterable[str]) -> list[str]:
    """Which of these models took part in a run."""
    return [name for name in among if name in run.policies]


def rivals_of(run: RecordedRun, models: Iterable[str]) -> list[str]:
    """Policies of a run that are not among the models."""
    known = set(models)
    return [name for name in run.policies if name not in known]


def findings(run: RecordedRun, model: str, models: Sequence[str], period: str) -> list[str]:
    """Sentences on one run of one model.

    Args:
        run: The run.
        model: The model.
        models: All models of the record; the other policies are its rivals.
        period: Word for a bar, e.g. ``"hour"``.

    Returns:
        Markdown sentences: orders with a size net of costs, rivals for a flexible end, tracking at the fixed duration,
        option value and what is above the null, assets that the model never saw, other models.
    """
    rivals = rivals_of(run, models)
    sentences = _with_size(run, model, rivals) + _flexible(run, model, rivals)
    sentences += _fixed(run, model, rivals, period)
    sentences += _above_the_null(run, model)
    sentences += _unseen(run, model)
    for other in models_of(run, models):
        if other != model:
            sentences += _other_model(run, model, other)
    return sentences


# --- orders with a size ----------------------------------------------------------------------------------------------


def _with_size(run: RecordedRun, model: str, rivals: Sequence[str]) -> list[str]:
    """Whether TWAP wins net of costs at 1 %, and which policies are better than the model there, by their means."""
    sentences = []
    for minimum in run.minima:
        ours = {each.against: each for each in run.prices(model, minimum)}
        if "full_vwap" not in ours:
            continue
        full = ours["full_vwap"]
        difference = interval(full.difference, full.difference_low, full.difference_high, "+.1f")
        verdict = (
            "**TWAP wins**" if full.difference_high < 0 else "the model wins" if full.difference_low > 0 else "level"
        )
        better = [
            rival
            for rival in rivals
            for each in run.prices(rival, minimum)
            if each.against == "full_vwap" and each.net > full.net
        ]
        text = (
            f"Minimum {minimum}, orders of 1 % of the volume, net of costs, against the full-horizon VWAP: "
            f"{interval(full.net, full.net_low, full.net_high, '+.1f')} bps; minus TWAP {difference}: {verdict}."
        )
        sentences.append(f"{text} A higher net mean: {_names(better)}." if better else text)
    return sentences


# --- rivals ----------------------------------------------------------------------------------------------------------


def _flexible(run: RecordedRun, model: str, rivals: Sequence[str]) -> list[str]:
    """Mean improvement for flexible orders: rivals with the same outcome at every minimum share a sentence."""
    patterns: dict[tuple[Outcome, ...], list[str]] = {}
    minima = [minimum for minimum in run.flexible if run.row(model, minimum) is not None]
    for rival in rivals:
        rows = [run.difference(model, rival, minimum) for minimum in minima]
        outcomes = [outcome(row) for row in rows if row is not None]
        if minima and len(outcomes) == len(minima):
            patterns.setdefault(tuple(outcomes), []).append(rival)
    sentences = []
    for pattern, names in sorted(patterns.items(), key=lambda item: [*item[0]]):
        at = {
            kind: [m for m, o in zip(minima, pattern, strict=True) if o == kind]
            for kind in ("ahead", "level", "behind")
        }
        clauses = []
        if at["ahead"]:
            clauses.append(f"significantly ahead of {_names(names)} at {_minima(at['ahead'], run)}")
        if at["level"]:
            than = "" if at["ahead"] else f" from {_names(names)}"
            clauses.append(f"not significantly different{than} at {_minima(at['level'], run)}")
        if at["behind"]:
            of = "" if at["ahead"] or at["level"] else f" {_names(names)}"
            clauses.append(f"significantly behind{of} at {_minima(at['behind'], run)}")
        sentences.append(f"Flexible end, mean improvement: {_joined(clauses)}. {_spread(run, model, names, minima)}")
    return sentences


def _spread(run: RecordedRun, model: str, rivals: Sequence[str], minima: Sequence[int]) -> str:
    """The model's standard deviation as a multiple of that of each rival."""
    higher: list[str] = []
    ratios: list[float] = []
    for rival in rivals:
        own: dict[int, float] = {}
        for minimum in minima:
            ours, theirs = run.row(model, minimum), run.row(rival, minimum)
            if ours is not None and theirs is not None and theirs["std_vol"]:
                own[minimum] = float(ours["std_vol"]) / float(theirs["std_vol"])
        ratios += own.values()
        above = [minimum for minimum, ratio in own.items() if ratio > 1.0]
        if above:
            higher.append(f"that of {_names([rival])} at {_minima(above, run)}")
    if not ratios:
        return ""
    low, high = (number(value, ".2f") for value in (min(ratios), max(ratios)))
    span = low if low == high else f"{low} to {high}"
    text = f"Its standard deviation is {span} times {'theirs' if len(rivals) > 1 else 'the rival’s'}"
    return f"{text}, **above** {_joined(higher)}." if higher else f"{text}, nowhere above."


def _fixed(run: RecordedRun, model: str, rivals: Sequence[str], period: str) -> list[str]:
    """Tracking at the fixed duration: ratios of standard deviations."""
    rows = {
        rival: row for rival in rivals if (row := run.tracking(model, rival)) is not None and row["low"] is not None
    }
    if not rows:
        return []
    groups: dict[str, list[str]] = {"below": [], "level": [], "above": []}
    for rival, row in rows.items():
        groups["below" if row["high"] < 1.0 else "above" if row["low"] > 1.0 else "level"].append(rival)
    clauses = []
    if groups["below"]:
        clauses.append(f"significantly below that of {_names(groups['below'])}")
    if groups["level"]:
        clauses.append(f"not significantly different from that of {_names(groups['level'])}")
    if groups["above"]:
        clauses.append(f"significantly **above** that of {_names(groups['above'])}")
    text = f"Fixed duration of {run.max_periods} {period}s: the standard deviation of its errors is {_joined(clauses)}."
    if "twap" in rows:
        row = rows["twap"]
        text += f" It is {interval(row['std_ratio_vol'], row['low'], row['high'], '.2f')} times TWAP's."
    verdicts = [tracking_verdict(pd.DataFrame(rows)) for rival in rivals if (rows := run.tracking_errors(model, rival))]
    if not verdicts:
        return [text]
    return [
        f"{text} The worst orders rule a standard deviation. By all measures together: it {'; it '.join(verdicts)}."
    ]


# --- option value and above the null ---------------------------------------------------------------------------------


def _above_the_null(run: RecordedRun, model: str) -> list[str]:
    """Option value, and what is above the null: no claim of skill, because placebos earn some of it too."""
    rows = {m: row for m in run.minima if (row := run.null(model, m)) is not None and row["above_low_vol"] is not None}
    if not rows:
        return []
    above = [m for m, row in rows.items() if row["above_low_vol"] > 0]
    below = [m for m, row in rows.items() if row["above_high_vol"] < 0]
    neither = [m for m in rows if m not in above and m not in below]
    first = min(rows)
    row = rows[first]
    text = (
        f"At minimum {first} the option value is {number(row['option_vol'], '.3f')} bar volatilities: the improvement "
        "on the martingale null, where nothing is left to forecast. Above the null it earns "
        f"{interval(row['above_vol'], row['above_low_vol'], row['above_high_vol'])}. "
    )
    clauses = []
    if above:
        clauses.append(f"significantly above 0 at {_minima(above, run)}")
    if neither:
        clauses.append(f"not significantly different from 0 at {_minima(neither, run)}")
    if below:
        clauses.append(f"significantly **below** 0 at {_minima(below, run)}")
    return [f"{text}Each minimum by itself: {_joined(clauses)}. Policies that forecast nothing earn some of it too."]


def _unseen(run: RecordedRun, model: str) -> list[str]:
    """Assets that the model never saw, compared with the others, where the others have a gain."""
    shares: dict[int, float] = {}
    for minimum in run.flexible:
        seen, unseen = run.row(model, minimum, "seen"), run.row(model, minimum, "unseen")
        if seen is None or unseen is None or seen["low_vol"] is None or unseen["mean_vol"] is None:
            continue
        if seen["low_vol"] > 0:
            shares[minimum] = float(unseen["mean_vol"]) / float(seen["mean_vol"])
    if not shares:
        return []
    listed = [f"{number(100.0 * share, '.0f')} % at minimum {minimum}" for minimum, share in shares.items()]
    less = [minimum for minimum, share in shares.items() if share < 0.9]
    verdict = f"**more than 10 % below it** at {_minima(less, run)}" if less else "nowhere more than 10 % below it"
    return [
        "On assets that the model never saw, the mean improvement as a share of that on the other assets is "
        f"{_joined(listed)}: {verdict}."
    ]


def _other_model(run: RecordedRun, model: str, other: str) -> list[str]:
    """Another model of the zoo on the same orders: all assets, and those that no model saw."""
    sentences = []
    for assets, where in (("all", "all assets"), ("unseen", "assets that no model saw")):
        rows: dict[int, Row] = {}
        for minimum in run.minima:
            row = run.difference(model, other, minimum, assets)  # type: ignore[arg-type]
            if row is not None:
                rows[minimum] = row
        if not rows:
            continue
        clauses = []
        for kind, words in (
            ("ahead", "significantly ahead"),
            ("level", "not significantly different"),
            ("behind", "significantly behind"),
        ):
            at = [minimum for minimum, row in rows.items() if outcome(row) == kind]
            if at:
                clauses.append(f"{words} at {_minima(at, run)}")
        first = min(rows)
        size = interval(*(rows[first][name] for name in ("mean_vol", "low_vol", "high_vol")), "+.3f")
        sentences.append(
            f"Against {_names([other])}, {where}: {_joined(clauses)}; {size} bar volatilities at minimum {first}."
        )
    return sentences


# --- the risk dial ---------------------------------------------------------------------------------------------------


def dominance(record: Mapping[str, Any], model: str) -> list[str]:
    """Where one model at several risk aversions is better than a rival at equal or lower risk.

    Args:
        record: Record of ``benchmarks/frontier.py``.
        model: The model.

    Returns:
        A sentence per minimum duration and rival. Points of a rival with a lower standard deviation than every point
        of the model are counted as not comparable.
    """
    sentences = []
    models, compared = set(record["models"]), _judged(record["dominance"])
    for minimum in sorted({int(row["min_periods"]) for row in record["points"]}):
        for rival in dict.fromkeys(str(row["policy"]) for row in record["points"]):
            if rival in models:
                continue
            keys = {"policy": rival, "min_periods": minimum}
            points = sum(all(row[key] == value for key, value in keys.items()) for row in record["points"])
            rows = [
                row
                for row in compared
                if row["model"] == model and all(row[key] == value for key, value in keys.items())
            ]
            better = sum(bool(row["dominates"]) for row in rows)
            higher = sum(row["mean_verdict"] == "ahead" for row in rows) - better
            text = (
                f"Minimum {minimum}, `{rival}`: at {better} of its {points} point{'s' if points > 1 else ''} the model "
                "is better at equal or lower risk"
            )
            if higher:
                text += f"; at {higher} more its mean is higher and its risk not shown to be equal or lower"
            calmer = points - len(rows)
            sentences.append(
                text + (f"; at {calmer} every setting of the model has a higher standard deviation." if calmer else ".")
            )
    return sentences


def _judged(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The recorded comparisons by today's standard.

    An older record has the p-values of the differences in bps. They are adjusted here, and no claim in bar volatilities
    passes that does not also pass that test.
    """
    table = pd.DataFrame(rows)
    if len(table) and "p_holm_vol" not in table:
        table = table.rename(columns={f"std_ratio_{end}": f"std_ratio_{end}_vol" for end in ("low", "high")})
        table = judged(table.assign(p_holm_vol=holm(table["p_value"].astype(float))))
    return table.to_dict("records")


# --- words -----------------------------------------------------------------------------------------------------------


def _names(names: Sequence[str]) -> str:
    return _joined([f"`{name}`" for name in names])


def _joined(clauses: Sequence[str]) -> str:
    return ", ".join(clauses[:-1]) + (" and " if len(clauses) > 1 else "") + clauses[-1]


def _minima(minima: Sequence[int], run: RecordedRun) -> str:
    """``every flexible minimum (1, 3)``, ``minimum 6``, ``minimum 3 and 6``."""
    listed = _joined([str(minimum) for minimum in minima])
    every: Mapping[tuple[int, ...], str] = {
        run.flexible: f"every flexible minimum ({listed})",
        run.minima: f"every minimum ({listed})",
    }
    return every.get(tuple(minima), f"minimum {listed}") if len(minima) > 1 else f"minimum {listed}"
