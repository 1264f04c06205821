"""The page: what a visitor fills in, and what happens then. Numbers, tables and figures come from the package."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import gradio as gr
import pandas as pd

from lem_models.app import view, words
from lem_models.app.dials import Dials
from lem_models.app.form import OrderForm, read_form
from lem_models.app.limits import LIMITS
from lem_models.app.market import AppMarket, policy_named, policy_names, sample_market
from lem_models.app.runs import Run, run_order, tested_horizon
from lem_models.app.uploads import ReadSettings, read_upload
from lem_models.app.words import in_words
from lem_models.baselines import list_policies
from lem_models.errors import BarsError, LEMError, OrderError, UnknownNameError
from lem_models.execution.costs import COST_MODELS
from lem_models.execution.policy import PolicySettings
from lem_models.markets.vendors.files import SUFFIXES
from lem_models.markets.vendors.repairs import REPAIRS
from lem_models.orders.rules import Benchmark, Side, Target
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.dial.figure import risk_dial
from lem_models.report.order.figure import order_progress
from lem_models.report.order.tables import outcome_table, standing_table

__all__ = ["CALENDARS", "build"]

CALENDARS = ("auto", "24/7", "sessions", "XNYS", "XLON", "XPAR", "XETR", "XTKS", "XHKG", "XTSE", "XASX", "CMES")
"""Trading hours that the form offers."""

_REPAIRS = {
    "drop_repeats": "drop rows that repeat another",
    "clip_vwap": "clip VWAPs just outside low and high",
    "round_prices": "widen low and high to open and close",
    "fill_idle": "fill bars without trades",
    "drop_open": "drop an open last bar",
}
_SAMPLE, _UPLOAD = "The sample (two US indices, daily)", "My own file"
_FIGURE, _DIAL_FIGURE = (5.0, 4.7), (5.0, 4.0)  # inches: narrow, so that texts can be read on a phone
_SECONDS = 0.8  # of a bar while the order is played
_BETWEEN = 0.7  # seconds between drawings of a frontier whose points are coming
_BESIDE = (
    "Rules to compare with: twap trades evenly, volume_curve and pov with the volume; stopping_rule and "
    "longstaff_schwartz end early when it pays; the others follow a plan"
)
_PLAY, _PAUSE = "Play", "Pause"
_WORK: dict[str, Any] = {"concurrency_id": "work", "concurrency_limit": 1}
_DRAW: dict[str, Any] = {"concurrency_id": "draw", "concurrency_limit": 2}
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class _Parts:
    """Components that several events write to."""

    market: gr.State
    run: gr.State
    dials: gr.State
    bars: gr.HTML
    status: gr.HTML
    notes: gr.HTML
    figure: gr.HTML
    standing: gr.HTML
    outcome: gr.HTML
    frontier: gr.HTML
    bar: gr.Slider
    play: gr.Button
    timer: gr.Timer
    risk: gr.Slider
    size: gr.Slider
    report: gr.DownloadButton
    orders: gr.DownloadButton
    schedule: gr.DownloadButton

    @property
    def downloads(self) -> list[gr.DownloadButton]:
        return [self.report, self.orders, self.schedule]


def build(uploads: Path) -> gr.Blocks:
    """Build the page.

    Args:
        uploads: Folder where the server keeps its copies of uploaded files.
    """
    page = gr.Blocks(title="lem_models", analytics_enabled=False, delete_cache=(600, 3600))
    with page:
        gr.HTML(
            '<div class="lem-head"><h1>One order, bar by bar</h1><p>A Large Execution Model decides after every closed '
            "bar what fraction of an order to trade now and whether to finish. Watch one order beside baselines in the "
            f"same simulator, and see what risk and size cost.</p><p>{SIGN_CONVENTION}.</p></div>"
        )
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                source, file, read_with, bars_note = _bars_fields()
                fields = _order_fields()
            with gr.Column(scale=7, min_width=320):
                # Above the results: in sight on a wide page, and right below the form on a phone.
                go = gr.Button("Run", variant="primary", elem_id="lem-run")
                parts = _results(bars_note)
        _wire(page, parts, source, file, read_with, fields, go, uploads)
    return page


def _bars_fields() -> tuple[gr.Radio, gr.File, list[Any], gr.HTML]:
    gr.Markdown("### 1. Bars")
    source = gr.Radio([_SAMPLE, _UPLOAD], value=_SAMPLE, label="Bars to trade on", elem_id="lem-source")
    with gr.Column(visible=False) as own:
        known = " ".join(f".{each}" for each in SUFFIXES)
        file = gr.File(label="Bars of one or more symbols", elem_id="lem-file", height=120)
        gr.HTML(
            f'<p class="lem-notes">{known}, at most {LIMITS.upload_bytes >> 20} MB and {LIMITS.rows:,} bars. Files of '
            "some twenty vendors are read as they are. The bars stay in memory while this page is open.</p>"
        )
        with gr.Accordion(words.READING, open=False):
            symbol = gr.Textbox(
                label=words.SYMBOL,
                info="For a table that does not name it; Enter reads the file again",
                max_length=LIMITS.text,
                elem_id="lem-named",
            )
            zone = gr.Dropdown(["", *sorted(available_timezones())], value="", label=words.ZONE, elem_id="lem-zone")
            hours = gr.Dropdown(list(CALENDARS), value="auto", label=words.HOURS)
            repairs = gr.CheckboxGroup(
                [(_REPAIRS[name], name) for name in REPAIRS], value=[], label=words.REPAIRS, elem_id="lem-repairs"
            )
    source.change(lambda chosen: gr.update(visible=chosen == _UPLOAD), source, own, **_QUIET, queue=False)
    return source, file, [symbol, zone, hours, repairs], gr.HTML(elem_id="lem-bars")


def _order_fields() -> dict[str, Any]:
    gr.Markdown("### 2. Order")
    fields: dict[str, Any] = {}
    with gr.Row():
        fields["symbol"] = gr.Dropdown([], label="Symbol", min_width=140, elem_id="lem-symbol")
        fields["side"] = gr.Radio([each.value for each in Side], value="buy", label="Side", min_width=140)
    with gr.Row():
        fields["amount"] = gr.Textbox(
            label="Amount", info="40 BTC, 2 million USD; empty: by the size dial", min_width=140, max_length=LIMITS.text
        )
        fields["start"] = gr.Textbox(
            label="Start (UTC)", info="2017-03-06, or with a time 09:30", min_width=140, max_length=LIMITS.text,
            elem_id="lem-start",
        )  # fmt: skip
    with gr.Row():
        fields["end"] = gr.Textbox(
            label=words.END,
            info="A date, 12h, 10 days, or a number of bars",
            min_width=140,
            max_length=LIMITS.text,
            elem_id="lem-end",
        )
        fields["shortest"] = gr.Textbox(
            label=words.SHORTEST, info="Shortest duration; empty: at the end", min_width=140, max_length=LIMITS.text
        )
    with gr.Accordion("Benchmark, lots, cap, costs", open=False):
        with gr.Row():
            fields["benchmark"] = gr.Dropdown(
                [each.value for each in Benchmark], value="vwap", label="Benchmark", min_width=140
            )
            fields["lot_size"] = gr.Textbox(label=words.LOT, min_width=140, max_length=LIMITS.text)
        with gr.Row():
            fields["cap"] = gr.Slider(0, 100, value=0, step=1, label=f"{words.CAP}, % of a bar's volume; 0 for none")
            fields["costs"] = gr.Dropdown(list(COST_MODELS), value="us_equity", label="Costs", min_width=140)
    gr.Markdown("### 3. Who trades")
    fields["model"] = gr.Dropdown(policy_names(), value="twap", label="Model or policy", elem_id="lem-model")
    fields["baselines"] = gr.CheckboxGroup(list_policies(), value=[], label="Beside", info=_BESIDE)
    fields["any_frequency"] = gr.Checkbox(False, label=words.ANY_FREQUENCY, container=False)
    return fields


def _results(bars_note: gr.HTML) -> _Parts:
    market, run, dials = (gr.State(None, time_to_live=3600) for _ in range(3))
    status = gr.HTML(
        view.message(
            "The form is filled in. Run executes the order and plays it bar by bar; the outcome in basis points "
            "follows the last bar."
        ),
        elem_id="lem-status",
    )
    with gr.Row(equal_height=True):
        bar = gr.Slider(
            *(1, 2),
            value=1,
            step=1,
            label="Bars that have closed",
            info="The outcome is at the right end",
            min_width=220,
            visible=False,
            elem_id="lem-bar",
        )
        play = gr.Button(_PLAY, min_width=80, scale=0, visible=False, elem_id="lem-play")
    figure = gr.HTML(elem_id="lem-figure")
    standing = gr.HTML(elem_id="lem-standing")
    outcome = gr.HTML(elem_id="lem-outcome")
    notes = gr.HTML(elem_id="lem-run-notes")
    gr.Markdown("### The dials: orders like this one at many starts")
    with gr.Row():
        risk = gr.Slider(
            0.05,
            2,
            value=_aversion(sample_market()),
            step=0.05,
            label="Risk aversion",
            info="Of the next run too",
            min_width=220,
            elem_id="lem-risk",
        )
        size = gr.Slider(
            0,
            10,
            value=1,
            step=0.25,
            label="Size, % of the expected volume",
            info="What is drawn is net of costs",
            min_width=220,
            elem_id="lem-size",
        )
    frontier = gr.HTML(elem_id="lem-frontier")
    with gr.Row():
        report, orders, schedule = (
            gr.DownloadButton(label, interactive=False, min_width=140, size="sm", elem_id=f"lem-{name}")
            for name, label in (("report", "Report (HTML)"), ("orders", "Orders (CSV)"), ("schedule", "Schedule (CSV)"))
        )
    timer = gr.Timer(_SECONDS, active=False)
    return _Parts(
        market=market,
        run=run,
        dials=dials,
        bars=bars_note,
        status=status,
        notes=notes,
        figure=figure,
        standing=standing,
        outcome=outcome,
        frontier=frontier,
        bar=bar,
        play=play,
        timer=timer,
        risk=risk,
        size=size,
        report=report,
        orders=orders,
        schedule=schedule,
    )


# --- what happens ----------------------------------------------------------------------------------------------------


def _wire(
    page: gr.Blocks,
    parts: _Parts,
    source: gr.Radio,
    file: gr.File,
    read_with: list[Any],
    fields: dict[str, Any],
    go: gr.Button,
    uploads: Path,
) -> None:
    proposed = ("symbol", "start", "amount", "end", "shortest", "model", "baselines", "costs")
    written = [parts.market, parts.bars, *(fields[name] for name in proposed)]

    def read(
        chosen: object, path: str | None, symbol: object, zone: object, hours: object, repairs: object
    ) -> list[Any]:
        if chosen != _UPLOAD:
            return _proposal(sample_market())
        if path is None:
            return [None, view.message("Choose a file."), *_unchanged(len(written) - 2)]
        try:
            bars, said = read_upload(path, uploads, _read_settings(symbol, zone, hours, repairs))
            return _proposal(AppMarket.of_bars(bars, Path(path).name[: LIMITS.text], said))
        except LEMError as error:
            return [None, view.message(in_words(error), "bad"), *_unchanged(len(written) - 2)]

    inputs = [source, file, *read_with]
    page.load(read, inputs, written, **_QUIET, **_WORK)
    settings = (read_with[0].submit, *(each.input for each in read_with[1:]))
    for changed in (source.input, file.upload, file.clear, *settings):
        changed(read, inputs, written, api_visibility="private", **_WORK)
    fields["symbol"].input(_start_of, [parts.market, fields["symbol"]], fields["start"], **_QUIET, queue=False)

    outputs = [
        *(parts.run, parts.dials, parts.status, parts.notes, parts.bar, parts.figure, parts.standing, parts.outcome),
        *(parts.frontier, parts.timer, parts.play, *parts.downloads),
    ]
    started = go.click(
        _run,
        [parts.market, parts.risk, parts.size, *fields.values()],
        outputs,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[parts.status],
        **_WORK,
    )
    turned = {
        "fn": _turn,
        "inputs": [parts.run, parts.dials, parts.risk, parts.size],
        "outputs": [parts.dials, parts.frontier, *parts.downloads],
        **_QUIET,
        **_WORK,
    }
    drawing = [started.then(**turned)]
    for dial in (parts.risk, parts.size):
        drawing.append(dial.input(**turned, trigger_mode="always_last"))
    # A new order need not wait for the frontier of the last one.
    go.click(None, None, None, cancels=drawing, api_visibility="private")
    drawn = [parts.figure, parts.standing, parts.outcome]
    parts.bar.input(_stop, None, [parts.timer, parts.play], **_QUIET, queue=False)
    parts.bar.input(_show, [parts.run, parts.bar], drawn, trigger_mode="always_last", **_QUIET, **_DRAW)
    parts.timer.tick(
        _step,
        [parts.run, parts.bar, parts.play],
        [parts.bar, parts.timer, parts.play, *drawn],
        trigger_mode="once",
        **_QUIET,
        **_DRAW,
    )
    parts.play.click(
        _play, [parts.run, parts.bar, parts.play], [parts.bar, parts.timer, parts.play], **_QUIET, queue=False
    )


def _proposal(market: AppMarket) -> list[Any]:
    """The market, what is said about it, and what the form proposes."""
    symbols, horizon = list(market.bars.symbols), market.horizon
    first = symbols[0]
    said = (
        view.message(f"{market.title}: {len(market.bars):,} bars", "good")
        + view.facts(market.facts())
        + view.notes(market.notes)
    )
    return [
        market,
        said,
        gr.update(choices=symbols, value=first),
        gr.update(value=market.proposed_start(first)),
        gr.update(value=market.amount),
        gr.update(value=str(horizon)),
        gr.update(value="1"),
        gr.update(value=market.model),
        gr.update(value=list(market.baselines)),
        gr.update(value=market.costs),
    ]


def _read_settings(symbol: object, zone: object, hours: object, repairs: object) -> ReadSettings:
    """What the form says about a file; zones and calendars are those of its lists, whatever a request holds.

    Raises:
        UnknownNameError: A list does not have the choice.
    """
    zones, name = available_timezones(), _text(zone)
    if name and name not in zones:
        raise UnknownNameError.among("zone", name[: LIMITS.text], zones)
    calendar = _text(hours) or CALENDARS[0]
    if calendar not in CALENDARS:
        raise UnknownNameError.among("calendar", calendar[: LIMITS.text], CALENDARS)
    chosen = tuple(_text(each) for each in repairs) if isinstance(repairs, list) else ()
    for repair in chosen:
        if repair not in REPAIRS:
            raise UnknownNameError.among("repair", repair[: LIMITS.text], REPAIRS)
    return ReadSettings(_text(symbol)[: LIMITS.text].strip(), name, calendar, chosen)


def _unchanged(count: int) -> list[Any]:
    return [gr.skip()] * count


def _aversion(market: AppMarket) -> float:
    """The risk aversion that the proposed model has by itself, on the scale of the dial."""
    return min(max(round(PolicySettings.of(policy_named(market.model)).risk_aversion, 2), 0.05), 2.0)


def _start_of(market: AppMarket | None, symbol: str) -> Any:  # noqa: ANN401 (an update of Gradio)
    if market is None or symbol not in market.bars.symbol_numbers:
        return gr.skip()
    return gr.update(value=market.proposed_start(symbol))


def _run(
    market: AppMarket | None,
    risk: float,
    size: float,
    symbol: str,
    side: str,
    amount: str,
    start: str,
    end: str,
    shortest: str,
    benchmark: str,
    lot_size: str,
    cap: float,
    costs: str,
    model: str,
    baselines: list[str],
    any_frequency: bool,
) -> Iterator[list[Any]]:
    """Execute the order; then the figure begins at its first bar, and the timer plays the others."""
    count = 14

    def said(text: str, tone: str = "plain") -> list[Any]:
        return [gr.skip(), gr.skip(), view.message(text, tone), *_unchanged(count - 3)]

    try:
        if market is None:
            raise BarsError("there are no bars yet: take the sample, or choose a file")
        yield said("Executing ...")
        form = OrderForm(
            symbol=_text(symbol),
            side=_text(side),
            amount=_text(amount),
            start=_text(start),
            end=_text(end),
            shortest=_text(shortest),
            benchmark=_text(benchmark),
            lot_size=_text(lot_size),
            max_participation=_part(cap, "cap") or None,
            risk_aversion=_number(risk, "risk aversion"),
        )
        order, moved = read_form(form, market.bars, tested_horizon(model))
        run = run_order(
            *(
                market,
                order,
                _text(model),
                [_text(each) for each in baselines or ()],
                _text(costs),
                _part(size, "size"),
            ),
            allow_frequency=bool(any_frequency),
            notes=moved,
        )
    except LEMError as error:
        yield [None, None, view.message(in_words(error), "bad"), "", gr.skip(), "", "", "", "", gr.Timer(active=False),
               _PLAY, *[gr.update(interactive=False)] * 3]  # fmt: skip
        return
    written = [gr.update(value=path, interactive=True) for path in run.write()]
    title = f"{_what(run)}, {run.bars} bars at most, {model} beside {len(run.results) - 1} others"
    yield [
        *(run, None, view.message(title, "good"), view.notes(run.notes)),
        gr.update(maximum=run.bars, value=1, visible=True),
        *_show(run, 1),
        view.message("Drawing the frontier ..."),
        gr.Timer(active=run.bars > 1),
        gr.update(value=_PAUSE if run.bars > 1 else _PLAY, visible=True),
        *written,
    ]


def _what(run: Run) -> str:
    """The order in words: 'buy 40 BTCUSDT', 'sell SPX for 2,000,000 of its currency'."""
    order = run.order
    if order.amount is None:
        return f"{order.side.value} {order.symbol}"
    if order.target is Target.NOTIONAL:
        return f"{order.side.value} {order.symbol} for {order.amount:,.15g} of its currency"
    return f"{order.side.value} {order.amount:,.15g} {order.symbol}"


def _show(run: Run | None, bar: float) -> tuple[str, str, str]:
    """The figure and where each policy stands after some bars; the outcome once all have closed."""
    if run is None:
        return "", "", ""
    through = min(max(int(bar), 1), run.bars)
    figure = view.figure(lambda: order_progress(run.paths, through, size=_FIGURE), f"The order after {through} bars")
    outcome = view.table(outcome_table(run.results, prices=False), run.results) if through == run.bars else ""
    return figure, view.table(standing_table(run.paths, through), run.results), outcome


def _step(run: Run | None, bar: float, playing: str) -> tuple[Any, ...]:
    """The next bar of an order that is played."""
    if run is None or playing != _PAUSE:
        return gr.skip(), gr.Timer(active=False), _PLAY, gr.skip(), gr.skip(), gr.skip()
    through = min(int(bar) + 1, run.bars)
    goes_on = through < run.bars
    return through, gr.Timer(active=goes_on), _PAUSE if goes_on else _PLAY, *_show(run, through)


def _stop() -> tuple[Any, str]:
    return gr.Timer(active=False), _PLAY


def _play(run: Run | None, bar: float, playing: str) -> tuple[Any, ...]:
    """Play from here, from the first bar if all have closed, or stop."""
    if run is None or playing == _PAUSE:
        return gr.skip(), gr.Timer(active=False), _PLAY
    return (1 if int(bar) >= run.bars else gr.skip()), gr.Timer(active=True), _PAUSE


def _turn(run: Run | None, dials: Dials | None, risk: float, size: float) -> Iterator[list[Any]]:
    """The points at this risk aversion and this size, as they come; then the report with them."""
    if run is None:
        yield [None, "", *_unchanged(3)]
        return
    try:
        dials = dials if dials is not None and dials.run is run else Dials.of(run)
        chosen, part = _number(risk, "risk aversion"), _part(size, "size")
        points, drawn = pd.DataFrame(), 0.0
        for points, done, wanted in dials.points(chosen, part):
            if done < wanted and time.monotonic() - drawn < _BETWEEN:
                continue  # a drawing takes as long as a point
            progress = "" if done == wanted else f"{done} of {wanted} points"
            yield [dials, _frontier(dials, points, chosen, part, progress), *_unchanged(3)]
            drawn = time.monotonic()
        yield [dials, gr.skip(), *(gr.update(value=path, interactive=True) for path in run.write(points))]
    except LEMError as error:
        yield [dials, view.message(f"No frontier: {in_words(error)}", "bad"), *_unchanged(3)]


def _frontier(dials: Dials, points: pd.DataFrame, risk: float, size: float, progress: str) -> str:
    tested = dials.run.tested
    text = f"{len(dials.orders):,} orders like this one, risk aversion {risk:g}, {size:.2%} of the expected volume"
    drawing: Callable[[], Any] = lambda: risk_dial(  # noqa: E731
        points, [tested], unit="bps", chosen=risk, panel=_DIAL_FIGURE
    )
    caption = (
        f"{text}. Net of costs ({dials.run.costs}). Each point is all these orders at one risk aversion λ, and "
        f"the ring is the chosen one; up and left is better. Vertical lines are 95 % intervals over days. {progress}"
    ).strip()
    return view.figure(drawing, text) + f'<p class="lem-notes">{caption}</p>'


def _text(value: object) -> str:
    """A text of the form; empty where there is none."""
    if value is not None and not isinstance(value, str):
        raise OrderError("the fields of the form are texts", rule="text")
    return value or ""


def _number(value: object, name: str) -> float:
    """A number of a slider, in its range whatever a request holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise OrderError(f"{name} is a number from 0 to 100", field=name, rule="number")
    return float(value)


def _part(value: object, name: str) -> float:
    """A part from a slider of per cents."""
    return float(f"{_number(value, name):.6g}e-2")
