"""``lem fit-convex``: fit the convex policy, which tracks the VWAP over fixed durations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.output import Output
from lem_models.errors import ConfigError
from lem_models.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["FitConvexOptions", "fit_convex"]

_SHARES = (0.6, 0.8)  # of the days: where training and validation end, as in a fine-tuning


def _help(name: str) -> str | None:
    """Help of the option of ``lem finetune`` that means the same."""
    return FinetuneSettings.model_fields[name].description


class FitConvexOptions(DataOptions):
    """Options of ``lem fit-convex``."""

    out: Path = Field(Path("my-convex"), description="Folder for convex.json; its path is then a name of the policy.")
    horizon: int = Field(24, ge=2, description="Longest duration in periods; shorter ones are fitted too.")
    huber: float = Field(
        0.7,
        description="Errors above so many bar volatilities count linearly: 0.7 for the median order, 2 for the spread.",
    )
    train_end: str | None = Field(None, description=_help("train_end"))
    validation_end: str | None = Field(None, description=_help("validation_end"))
    held_out: str = Field("", description="Symbols to leave out, comma-separated, as unseen assets of a later test.")
    orders: int = Field(70_000, ge=1_000, description="Most orders of a duration in the fit.")
    seed: int = Field(0, ge=0, description="Seed of the draws of orders.")


def fit_convex(options: FitConvexOptions, out: Output) -> None:
    """Fit the convex policy to bars, and print how closely it tracks the VWAP beside the constant curve and TWAP.

    The policy can be used wherever a policy has a name: lem benchmark --baselines twap,FOLDER

    Example: lem fit-convex --data bars.parquet --out my-convex
    """
    import pandas as pd

    from lem_models.baselines.tracking.backloaded_curve import BackloadedCurve
    from lem_models.baselines.tracking.coefficients import check_target
    from lem_models.baselines.tracking.convex import ConvexPolicy
    from lem_models.baselines.tracking.fit import durations_up_to, fit_tracking, fixed_orders
    from lem_models.evaluation.tracking import tracking_ratios
    from lem_models.features.market import Market
    from lem_models.report.policy_tables import tracking_ratio_table

    check_target(options.out)
    bars = _without(options.read(options.data), options.held_out)
    train_end, validation_end = _borders(bars, options)
    bars = bars.between(end=validation_end)  # the days of the test stay unread
    durations = durations_up_to(options.horizon)
    steps = 3 * len(durations)  # orders and fit of each duration, then its validation
    with out.progress() as progress:
        fitted = fit_tracking(
            bars,
            train_end=train_end,
            validation_end=validation_end,
            durations=durations,
            huber=options.huber,
            orders=options.orders,
            seed=options.seed,
            progress=lambda text, done, _: progress(text, done, steps),
        )
        policies = {"constant curve": BackloadedCurve(fitted), "convex": ConvexPolicy(fitted)}
        market, rows = Market(bars), []
        for number, (periods, table) in enumerate(zip(durations, fitted.tables, strict=True)):
            progress(f"validating orders of {periods} periods", 2 * len(durations) + number, steps)
            # Not the orders that chose the ridge, though of the same days.
            drawn = fixed_orders(
                bars, periods, start=train_end, end=validation_end, limit=options.orders // 3, seed=options.seed + 1
            )
            ratios = tracking_ratios(policies, market, drawn)
            rows.append(ratios.assign(periods=periods, ridge=table.ridge).query("policy != 'twap'"))
        path = fitted.write(options.out)
    out.table("tracking", tracking_ratio_table(pd.concat(rows, ignore_index=True), by=("periods", "ridge")))
    out.say(
        f"Fitted on orders before {train_end}, validated on orders before {validation_end}; no later bar was read.\n"
        f"{path.resolve()}",
        train_end=train_end,
        validation_end=validation_end,
        file=path.resolve(),
    )


def _without(bars: Bars, held_out: str) -> Bars:
    """The bars without some symbols.

    Raises:
        ConfigError: A symbol is not there, or none is left.
    """
    from lem_models.cli.policies import comma_separated

    left_out = comma_separated(held_out)
    if unknown := [symbol for symbol in left_out if symbol not in bars.symbols]:
        raise ConfigError(f"--held-out names {', '.join(unknown)}, of which the bars have none")
    kept = [symbol for symbol in bars.symbols if symbol not in left_out]
    if not kept:
        raise ConfigError("--held-out leaves no symbol to fit to")
    return bars.select(kept) if left_out else bars


def _borders(bars: Bars, options: FitConvexOptions) -> tuple[str, str]:
    """First days of the validation and of the test."""
    import numpy as np

    days = np.unique(bars.timestamp.astype("datetime64[ns]").astype("datetime64[D]"))
    train_end, validation_end = (str(days[int(share * len(days))]) for share in _SHARES)
    return options.train_end or train_end, options.validation_end or validation_end
