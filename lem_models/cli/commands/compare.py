"""``lem compare``: two policies, or two results, on the same orders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.commands.benchmark import BenchmarkOptions, suitable_orders
from lem_models.cli.options import as_arguments
from lem_models.cli.output import Output, note, warn
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ANY_FREQUENCY, PolicyName, named_policy
from lem_models.errors import BarsError, ConfigError, OrderError

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.execution.policy import Policy
    from lem_models.markets.bars import Bars
    from lem_models.report.tables import Column, Table

__all__ = ["CompareOptions", "compare"]

_RESULTS = ("orders.csv", "orders.parquet")
"""Files of a result's folder: of ``lem execute`` and ``lem tca``, and of ``lem benchmark``."""


_AGAINST = {"own": "own benchmark", "full_vwap": "full VWAP", "arrival_price": "arrival"}
"""Prices by their column in a result. The own benchmark ends when the order does; the others do not wait for it."""


def _help(name: str) -> str | None:
    """Help of the option of ``lem benchmark`` that means the same."""
    return BenchmarkOptions.model_fields[name].description


class CompareOptions(BarsOptions):
    """Options of ``lem compare``."""

    a: Annotated[PolicyName, typer.Argument()] = Field(description="Policy or result that is compared.")
    b: Annotated[PolicyName, typer.Argument()] = Field(description="Policy or result that it is compared with.")
    data: Path | None = Field(None, description=f"{BARS} Default: the bars of `lem demo`.")
    any_frequency: bool = Field(False, description=ANY_FREQUENCY)
    every: str = Field("6", description=_help("every"))
    min_periods: str | None = Field(None, description=_help("min_periods"))
    max_periods: int | None = Field(None, description=_help("max_periods"))
    side: str = Field("both", description=_help("side"))
    start: str | None = Field(None, description="First day; default: the first of the models' validation.")
    end: str | None = Field(None, description="Orders end before this day; default: the first day not in validation.")
    limit: int = Field(20_000, description=_help("limit"))
    by: str = Field("min_periods", description="Keys of the groups, comma-separated; '' for all orders together.")
    seed: int = Field(0, description="Seed of the draws of orders and of the bootstrap.")


def compare(options: CompareOptions, out: Output) -> None:
    """Compare two policies on the same orders: paired differences of the improvement, with 95 % intervals.

    Two policies run on bars: without --data on those of `lem demo`, with it on the days of the models' validation, so
    that no test period is looked at unless --start and --end name it. Or two results are read: folders of `lem execute`
    or `lem benchmark`, or their tables of orders.

    Example: lem compare lem-crypto-hourly stopping_rule

    Example: lem compare my-model lem-base --data bars.parquet

    Example: lem compare reports/mine reports/theirs
    """
    from lem_models.cli.policies import comma_separated
    from lem_models.statistics.summary import compare as by_policy

    files = _result_file(options.a), _result_file(options.b)
    if (files[0] is None) != (files[1] is None):
        result, policy = (options.a, options.b) if files[1] is None else (options.b, options.a)
        raise ConfigError(f"{result} is a result and {policy} is none: compare two results or two policies")
    names = _names(options.a, options.b)
    if files[0] is not None and files[1] is not None:
        given = as_arguments(options, BarsOptions) or ([] if options.data is None else ["--data"])
        if given:
            raise ConfigError(f"{given[0]} is for policies; two results have their bars behind them")
        tables = {name: _read(file) for name, file in zip(names, files, strict=True) if file is not None}
    else:
        tables = _run(options, names, out)
    ours, theirs = (tables[name] for name in names)
    keys = list(comma_separated(options.by))
    settings: dict[str, Any] = {"draws": 2000, "seed": options.seed}
    differences = _compared(ours, theirs, names[1], keys, settings)
    everything = _compared(ours, theirs, names[1], [], settings)
    out.add({"a": names[0], "b": names[1], "orders": len(ours), "verdict": everything["verdict"].iloc[0]})
    out.add({"first": ours["start"].min(), "last": ours["start"].max(), "symbols": ours["symbol"].nunique()})
    out.say(
        f"{names[0]} and {names[1]} on the same {len(ours):,} orders of {ours['symbol'].nunique()} symbols, "
        f"{ours['start'].min():%Y-%m-%d} to {ours['start'].max():%Y-%m-%d}; improvement, positive is better"
    )
    out.table("policies", _policies(by_policy(tables, keys, **settings), keys))
    out.say(f"{names[0]} minus {names[1]}, order by order; p: the difference is zero (Diebold-Mariano, Holm)")
    out.table("differences", _differences(differences, keys))
    out.add({"differences": differences, "all": everything})  # with the columns that are not printed, too
    for row in everything.to_dict("records"):
        bps, vol = (
            f"{row[f'mean_{unit}']:+{form}} [{row[f'low_{unit}']:+{form}}, {row[f'high_{unit}']:+{form}}]"
            for unit, form in (("bps", ".2f"), ("vol", ".4f"))
        )
        out.say(f"all orders, against {_AGAINST[row['against']]}: {bps} bps, {vol} bar volatilities: {row['verdict']}")


def _compared(
    ours: pd.DataFrame, theirs: pd.DataFrame, other: str, keys: list[str], settings: dict[str, Any]
) -> pd.DataFrame:
    """The paired comparison against each price that both tables know; tests are adjusted for all rows."""
    import pandas as pd

    from lem_models.statistics.dominance import judged, paired_comparison
    from lem_models.statistics.summary import adjusted

    tables = []
    for price in _AGAINST:
        pair = [_against(each, price) for each in (ours, theirs)]
        if pair[0] is not None and pair[1] is not None:
            compared = paired_comparison(pair[0], {other: pair[1]}, keys, **settings)
            tables.append(compared.assign(against=price))
    stacked = pd.concat(tables, ignore_index=True)
    return judged(adjusted(stacked.sort_values(keys, kind="stable", ignore_index=True) if keys else stacked))


def _against(orders: pd.DataFrame, price: str) -> pd.DataFrame | None:
    """The orders with their slippage against a price in place of their own benchmark; ``None`` without that price."""
    import numpy as np

    if price == "own":
        return orders
    if price == "arrival_price" and "shortfall_bps" in orders:  # what was not filled counts at the last close
        return orders.assign(slippage_bps=orders["shortfall_bps"])
    if not {"executed_price", price} <= set(orders):
        return None
    side = np.where(orders["side"] == "buy", 1.0, -1.0)
    return orders.assign(slippage_bps=side * (orders["executed_price"] / orders[price] - 1.0) * 1e4)


def _policies(means: pd.DataFrame, keys: list[str]) -> Table:
    """Mean and spread of each policy by group."""
    from lem_models.report.tables import Column, Table

    columns = [
        Column("policy", "policy"),
        Column("orders", "orders", "{:,.0f}"),
        Column("mean_bps", "bps", "{:+.1f}"),
        Column(("low_bps", "high_bps"), "95 %", "{:+.1f} {:+.1f}"),
        Column("std_bps", "std bps", "{:.1f}"),
        Column("mean_vol", "bar vol.", "{:+.3f}"),
        Column(("low_vol", "high_vol"), "95 %", "{:+.3f} {:+.3f}", dropped=1),
        Column("std_vol", "std", "{:.3f}"),
        Column("full_vwap_bps", "full VWAP, bps", "{:+.1f}"),
        Column("arrival_bps", "arrival, bps", "{:+.1f}"),
    ]
    frame = means.sort_values(keys, kind="stable", ignore_index=True) if keys else means
    return Table(frame, columns, grouped=_keys(keys))


def _differences(differences: pd.DataFrame, keys: list[str]) -> Table:
    """Differences by group, and what they allow to say."""
    from lem_models.report.numbers import p_text
    from lem_models.report.tables import Column, Table

    ratio = ("std_ratio_vol", "std_ratio_low_vol", "std_ratio_high_vol")
    columns = [
        Column("against", "against", lambda price: _AGAINST[price]),
        Column("orders", "orders", "{:,.0f}", dropped=3),
        Column("mean_bps", "bps", "{:+.2f}"),
        Column(("low_bps", "high_bps"), "95 %", "{:+.2f} {:+.2f}"),
        Column("p_holm_bps", "p", p_text, dropped=2),
        Column("mean_vol", "bar vol.", "{:+.4f}"),
        Column(("low_vol", "high_vol"), "95 %", "{:+.4f} {:+.4f}"),
        Column("p_holm_vol", "p", p_text),
        Column("better_percent", "ahead", "{:.1f} %", dropped=1),
        Column(ratio, "stds' ratio", "{:.2f} [{:.2f}, {:.2f}]", dropped=4),
    ]
    return Table(differences, columns, grouped=_keys(keys))


def _keys(keys: list[str]) -> list[Column]:
    from lem_models.report.tables import Column

    return [Column(key, key.replace("_", " ")) for key in keys]


def _names(a: str, b: str) -> tuple[str, str]:
    """Short names of the two, or whole ones where the short ones are the same.

    Raises:
        ConfigError: They are the same.
    """
    if a == b:
        raise ConfigError(f"{a} is compared with itself: name two")
    short = tuple(Path(name).name.rpartition(":")[2] for name in (a, b))
    return (a, b) if short[0] == short[1] else (short[0], short[1])


def _result_file(name: str) -> Path | None:
    """Table of orders of a result; ``None`` if the name is no result."""
    path = Path(name)
    if path.suffix in (".csv", ".parquet"):
        check_readable(path, OrderError)
        return path
    return next((path / file for file in _RESULTS if (path / file).is_file()), None)


def _read(path: Path) -> pd.DataFrame:
    """Orders table of a result.

    Raises:
        OrderError: It cannot be read.
    """
    from lem_models.execution.result import read_result

    return read_result(path)


def _run(options: CompareOptions, names: tuple[str, str], out: Output) -> dict[str, pd.DataFrame]:
    """Orders tables of two policies, run on the same orders."""
    from lem_models.cli.policies import comma_separated
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.markets.calendar.frequency import clock

    policies = dict(zip(names, map(named_policy, (options.a, options.b)), strict=True))
    bars, start, end = _bars(options, policies)
    if (start, end, options.start) == (None, None, None):
        _warn_of_training_days(bars, policies)
    horizons = [horizon for each in policies.values() if (horizon := suitable_orders({"": each})["max_periods"])]
    longest = options.max_periods or min(horizons)
    minima = suitable_orders(policies)["min_periods"] if options.min_periods is None else ()
    given = comma_separated(options.min_periods or "")
    if not all(each.isdigit() for each in given):
        raise ConfigError(f"--min-periods takes whole numbers, comma-separated; got {options.min_periods!r}")
    chosen = {min(each, longest) for each in (*minima, *map(int, given))}
    start, end = options.start or start, options.end or end
    days = f"{'' if start is None else f' from {start}'}{'' if end is None else f' before {end}'}"
    note(f"orders{days or ' over all bars'}, on bars of {clock(bars.frequency)} (--start and --end change the days)")
    settings = BenchmarkSettings(
        every=int(options.every) if options.every.isdigit() else options.every,
        min_periods=tuple(sorted(chosen)),
        max_periods=longest,
        side=options.side,
        start=start,
        end=end,
        limit=options.limit or None,
        null=0,
        information=0,
        placebos=(),
        sizes=(),
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with out.progress() as progress:
        result = run_benchmark(policies, bars, settings, progress=progress)
    if result is None:
        raise ConfigError("lem compare runs in one process, not under torchrun")
    return result.orders


def _bars(options: CompareOptions, policies: dict[str, Policy]) -> tuple[Bars, str | None, str | None]:
    """The bars, the first day of the orders, and the day before which they end."""
    from lem_models.cli.commands.demo import INDEX_DAYS, index_bars, simulated_bars
    from lem_models.execution.frequency_check import check_frequency

    if options.data is not None:
        bars = options.read(options.data)
        return bars, *_days(bars, policies)
    reading = as_arguments(options, BarsOptions)
    if reading:
        raise ConfigError(f"{reading[0]} is for reading --data, which is not given")
    samples = [(index_bars(), *INDEX_DAYS), (simulated_bars(options.seed), None, None)]
    for sample, (bars, start, end) in zip(("real", "simulated"), samples, strict=True):
        try:
            for name, policy in policies.items():
                check_frequency(policy, bars, allow=options.any_frequency, name=name)
        except BarsError:
            continue
        note(f"{sample} bars of `lem demo` (--data takes your own)")
        return bars, start, end
    raise ConfigError(f"no bars of `lem demo` fit {' and '.join(policies)}: name yours with --data")


def _warn_of_training_days(bars: Bars, policies: dict[str, Policy]) -> None:
    """Say which models were trained or chosen on days of the bars: on those their advantage is no measurement."""
    import pandas as pd

    from lem_models.markets.calendar.frequency import clock
    from lem_models.modeling.model import LEMModel

    for name, policy in policies.items():
        day = policy.config.first_unseen(clock(bars.frequency)) if isinstance(policy, LEMModel) else None
        if day is not None and pd.Timestamp(day, tz="UTC").value > bars.timestamp.min():
            warn(f"{name} was trained or chosen on days before {day}, and orders start there too: --start {day}")


def _days(bars: Bars, policies: dict[str, Policy]) -> tuple[str | None, str | None]:
    """Days that chose the models, but did not train them; all days for policies without a training.

    Only models whose days reach into the bars count: a fine-tuned one, and not a parent from before. Where the days of
    the validation are not recorded, or the bars do not reach them, orders end before the first day that no model has
    seen, unless all bars are later.
    """
    import pandas as pd

    from lem_models.cli.commands.models.training_days import validation_days
    from lem_models.markets.calendar.frequency import clock
    from lem_models.modeling.model import LEMModel

    frequency = clock(bars.frequency)
    first = bars.timestamp.min()
    unseen = {
        model: str(day)
        for model in policies.values()
        if isinstance(model, LEMModel) and (day := model.config.first_unseen(frequency)) is not None
    }
    seen = {model: day for model, day in unseen.items() if pd.Timestamp(day, tz="UTC").value > first}
    if not seen:
        return None, None
    known = [validation_days(model, frequency) for model in seen]
    end = min(seen.values())
    begins = [days[0] for days in known if days is not None and days[0] < end]
    begin = max(begins, default=None)
    if begin is not None and pd.Timestamp(begin, tz="UTC").value >= bars.timestamp.max():
        begin = None
    return begin, end
