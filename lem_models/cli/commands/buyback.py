"""``lem buyback``: the plan of a share repurchase, the decision of its day, and its report to date."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import (
    PolicyName,
    PolicyNames,
    comma_separated,
    fitting_model,
    named_policies,
    named_policy,
)
from lem_models.errors import OrderError

__all__ = ["BuybackOptions", "buyback"]


class BuybackOptions(DataOptions):
    """Options of ``lem buyback``."""

    flags: ClassVar[dict[str, str]] = {"model": "--policy --model"}

    programme: Annotated[Path, typer.Argument()] = Field(description="Terms of the programme: a .yaml file.")
    fills: Path | None = Field(
        None, description="What was bought so far: a .csv with timestamp, quantity and price, and an optional id."
    )
    model: PolicyName | None = Field(
        None,
        description="Model or baseline by name, or your own policy as file.py:Name; default the bundled model for "
        "daily bars.",
    )
    until: str | None = Field(
        None, description="Leave out the bars from this day on: the state before its session, such as 2018-10-15."
    )
    untold: bool = Field(False, description="Do not tell the policy the size of the programme and its costs.")
    backtest: int = Field(
        0, ge=0, description="Run the programme from every n-th session from its first day on instead; 0 for none."
    )
    against: PolicyNames = Field("twap", description="Policies to compare with in a backtest, comma-separated.")
    html: Path | None = Field(None, description="Also write a page.")


def buyback(options: BuybackOptions, out: Output) -> None:
    """Plan a share repurchase, decide its next session, and report what was bought so far.

    The bars end with the last closed session. Everything follows from the terms, the bars and the fills.

    Example: lem buyback buyback.yaml --data bars.parquet --fills fills.csv
    """
    from lem_models.guard.output import check_file
    from lem_models.programmes import BuybackProgramme
    from lem_models.programmes.days import TradingDays
    from lem_models.programmes.page import days_table, plan_table, write_programme_page
    from lem_models.report.console import fitting_table

    for file in (options.programme, options.fills):
        if file is not None:
            check_readable(file)
    if options.html is not None:
        check_file(options.html)
    programme = BuybackProgramme.read(options.programme)
    bars = options.read(options.data)
    if options.until is not None:
        bars = bars.between(end=options.until)
    days = TradingDays.of(bars, programme).bars
    policy = named_policy(options.model) if options.model else None
    if options.backtest:
        _backtest(options, programme, bars, options.model or fitting_model(days), out)
        return
    if policy is None:
        from lem_models.hub.models.zoo import model_for

        policy = named_policy(model_for(days))
    report = programme.report(bars, options.fills)
    plan = programme.schedule(bars, policy, options.fills, told_size=not options.untold)
    decision, refusal = None, ""
    try:
        decision = programme.today(bars, options.fills, policy)
    except OrderError as error:
        if error.rule != "programme under way":
            raise
        refusal = error.message
    if options.html is not None:
        command = shlex.join(["lem", *sys.argv[1:]])
        write_programme_page(options.html, report, plan=plan, decision=decision, command=command)
    today = None if decision is None else decision.to_dict()
    out.say(
        str(decision) if decision is not None else refusal,
        decision=today,
        no_decision=refusal or None,
        report=report.to_dict(),
        plan=plan,
    )
    out.say(str(report))
    for table in ([days_table(report)] if report.bought else []) + [plan_table(plan)]:
        out.console.print(fitting_table(out.console, table))
    out.say(f"expected cost of the plan {plan['cost'].sum():,.0f}")
    if options.html is not None:
        out.say(str(options.html.resolve()), html=options.html.resolve())


def _backtest(options: BuybackOptions, programme: object, bars: object, model: str, out: Output) -> None:
    """Run a programme from many first days, and print the policies."""
    from lem_models.markets.bars import Bars
    from lem_models.programmes import BuybackProgramme
    from lem_models.programmes.page import backtest_table
    from lem_models.report.console import fitting_table

    assert isinstance(programme, BuybackProgramme)
    assert isinstance(bars, Bars)
    policies = named_policies(dict.fromkeys((model, *comma_separated(options.against))))
    tested = programme.backtest(bars, policies, options.backtest, told_size=not options.untold)
    first, *others = policies
    differences = {other: tested.difference(first, other) for other in others}
    out.add({"summary": tested.summary(), "excluded": tested.excluded, "net_minus": differences})
    out.console.print(fitting_table(out.console, backtest_table(tested)))
    for reason, count in tested.excluded["reason"].value_counts().items():
        out.say(f"{count} first days left out: {reason}")
    for other, row in differences.items():
        mean, low, high = (float(row[name].iloc[0]) for name in ("mean_bps", "low_bps", "high_bps"))
        out.say(f"{first} minus {other}, net: {mean:+.1f} bps [{low:+.1f}, {high:+.1f}]")
