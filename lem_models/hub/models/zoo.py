"""The zoo: the bundled models, and their facts without loading them.

Facts are read on use from small files: the registry (words), and in the folder of a model ``config.json``
(architecture) and ``metrics.json`` (measured results, written together with the model card).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lem_models.errors import ConfigError
from lem_models.evaluation.prices import PriceImprovement
from lem_models.hub.models.registry import ZooEntry, bundled_folder, bundled_names, zoo_entry, zoo_market
from lem_models.hub.names import CONFIG_NAME, METRICS_NAME

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

_WORDS = {"own": "own benchmark", "full_vwap": "full VWAP", "arrival": "arrival"}

__all__ = ["Headline", "ZooList", "ZooModel", "list_models", "model_for"]


@dataclass(frozen=True)
class Headline:
    """Improvement of a model in one market.

    Improvements are in bar volatilities, positive is better than the benchmark; intervals are at 95 %.

    Attributes:
        market: Evaluation market.
        split: ``"test"`` or ``"validation"``.
        max_periods: Longest duration of the orders.
        min_periods: Shortest minimum duration; the improvement is for these orders.
        mean_vol: Mean improvement.
        low_vol: Lower end of its interval.
        high_vol: Upper end.
        std_vol: Standard deviation between orders.
        tracking: Standard deviation over TWAP's at the fixed duration ``max_periods``; ``None`` if not measured.
        median_tracking: The same for the median of the absolute slippage.
        prices: Improvement in bps against the own benchmark, the full-horizon VWAP and arrival, gross and net of costs;
            empty if not measured.
        reduced: Whether the run had fewer orders or draws than by default.
    """

    market: str
    split: str
    max_periods: int
    min_periods: int
    mean_vol: float
    low_vol: float
    high_vol: float
    std_vol: float
    tracking: float | None = None
    median_tracking: float | None = None
    prices: tuple[PriceImprovement, ...] = ()
    reduced: bool = False

    def __str__(self) -> str:
        """Gross and net improvement against each price in bps, in bar volatilities where there is none; the errors."""
        orders = f"min {self.min_periods} of {self.max_periods}"
        if self.prices:
            columns = (f"{_WORDS[each.against]} {each.gross:+.1f} / {each.net:+.1f}" for each in self.prices)
            text = f"{', '.join(columns)} bps gross / net at {100 * self.prices[0].size:g} %, {orders}"
        else:
            ends = f"[{self.low_vol:.3f}, {self.high_vol:.3f}]"
            text = f"own benchmark {self.mean_vol:+.3f} ± {self.std_vol:.3f} {ends} bar vol., {orders}"
        if self.tracking is not None:
            text += f"; errors × TWAP's, fixed {self.max_periods}: std {self.tracking:.2f}"
            text += "" if self.median_tracking is None else f", median {self.median_tracking:.2f}"
        return text if self.split == "test" else f"{text} ({self.split})"


class ZooModel(str):
    """Name of a bundled model, with properties of the model.

    It is a ``str`` (``LEMModel.from_pretrained`` takes it, it equals the plain name). Its properties are read on use
    from the files of the package.

    Example:
        >>> model = list_models()[0]
        >>> model == str(model) and model.horizon >= 1
        True
    """

    @property
    def folder(self) -> Path:
        """Folder of the configuration and the weights."""
        return bundled_folder(self)

    @property
    def entry(self) -> ZooEntry:
        """Title, market, description and the like.

        Raises:
            UnknownNameError: When the registry has no row for this model.
        """
        return zoo_entry(self)

    @property
    def market(self) -> str:
        """Market that it is for, in a few words."""
        return self.entry.market

    @property
    def frequency(self) -> str:
        """Length of its bars; several, comma-separated."""
        return self.entry.frequency

    @property
    def horizon(self) -> int:
        """Longest order in periods."""
        return int(self._config["horizon"])

    @property
    def frequencies(self) -> tuple[str, ...]:
        """Lengths of the bars that it was trained on."""
        return tuple(self._config.get("frequencies", ()))

    @property
    def _config(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / CONFIG_NAME).read_text(encoding="utf-8")))

    def fits(self, frequency: str, calendar: str) -> bool:
        """Whether it was trained on bars of this length and for markets of this kind.

        Args:
            frequency: Length of a bar, e.g. ``"1h"``.
            calendar: ``"24/7"`` or ``"sessions"``.
        """
        return frequency in self.frequencies and calendar in {zoo_market(m).calendar for m in self.entry.evaluations}

    @property
    def size(self) -> int:
        """Bytes of its folder."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @property
    def metrics(self) -> dict[str, Any]:
        """Measured results by market, longest and minimum duration; empty when there are none."""
        path = self.folder / METRICS_NAME
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    @property
    def headlines(self) -> tuple[Headline, ...]:
        """Improvement in each market of its evaluations, for the first set of orders, all assets."""
        return tuple(_headline(evaluation) for evaluation in self.metrics.get("evaluations", ()))

    @property
    def headline(self) -> Headline | None:
        """The first of :attr:`headlines`."""
        return next(iter(self.headlines), None)


class ZooList(list[ZooModel]):
    """Names of models; it prints as a table of their properties."""

    def __repr__(self) -> str:
        """A table with a line per model and market."""
        rows = [("model", "market", "frequency", "horizon", "size", "headline"), *_rows(self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
            for row in rows
        )

    def properties(self) -> list[dict[str, Any]]:
        """The properties of the models, a mapping each."""
        return [
            {
                "name": str(model),
                "title": model.entry.title,
                "market": model.market,
                "frequency": model.frequency,
                "frequencies": model.frequencies,
                "horizon": model.horizon,
                "size": model.size,
                "headlines": [asdict(headline) for headline in model.headlines],
            }
            for model in self
        ]

    def to_json(self) -> str:
        """The properties of the models, as JSON text."""
        return json.dumps(self.properties(), indent=2)


def list_models() -> ZooList:
    """The bundled models, sorted by name; each loads offline with ``LEMModel.from_pretrained(name)``.

    Returns:
        A list of names. Each is a :class:`ZooModel`, a ``str`` that also has ``market``, ``frequency``, ``horizon``,
        ``size`` and ``headline``; the list prints as a table of these.

    Example:
        >>> "lem-crypto-hourly" in list_models()
        True
    """
    return ZooList(ZooModel(name) for name in bundled_names())


def model_for(bars: Bars) -> ZooModel:
    """The bundled model that fits the length of the bars and the kind of their market; a specialist before the base.

    Raises:
        ConfigError: When none fits; the error lists them.
    """
    from lem_models.markets.calendar.frequency import clock

    frequency = clock(bars.frequency)
    calendars = {"24/7" if name == "24/7" else "sessions" for name in bars.calendar_names.values()}
    fitting = [model for model in list_models() if all(model.fits(frequency, calendar) for calendar in calendars)]
    if fitting:
        return min(fitting, key=lambda model: len(model.frequencies))
    known = "; ".join(f"{model}: {model.market}, {' or '.join(model.frequencies)}" for model in list_models())
    market = " or ".join("never closes" if calendar == "24/7" else "has sessions" for calendar in sorted(calendars))
    raise ConfigError(
        f"no bundled model was trained on bars of {frequency} of a market that {market} ({known}); "
        "fine-tune one (lem finetune), or use one anyway with --model NAME --any-frequency"
    )


def _headline(evaluation: Mapping[str, Any]) -> Headline:
    orders = evaluation["runs"][0]  # the first longest duration
    row = min(orders["rows"], key=lambda row: int(row["min_periods"]))
    twap = [each["std_ratio_vol"] for each in orders["tracking"] if each["policy"] == "twap"]
    median = [
        each["ratio"]
        for each in orders.get("tracking_errors", ())
        if (each["policy"], each["measure"]) == ("twap", "median_abs")
    ]
    return Headline(
        market=evaluation["market"],
        split=evaluation["split"],
        max_periods=orders["max_periods"],
        tracking=twap[0] if twap else None,
        median_tracking=median[0] if median else None,
        prices=tuple(PriceImprovement.of(each) for each in row.get("prices", ())),
        reduced=bool(evaluation.get("reduced", False)),
        **{name: row[name] for name in ("min_periods", "mean_vol", "low_vol", "high_vol", "std_vol")},
    )


def _rows(models: Iterable[ZooModel]) -> list[tuple[str, ...]]:
    """Cells of the table; further markets of a model have their own lines below it."""
    rows: list[tuple[str, ...]] = []
    for model in models:
        headlines = model.headlines
        first = f"{headlines[0].market}: {headlines[0]}" if headlines else "not measured"
        rows.append(
            (str(model), model.market, model.frequency, str(model.horizon), f"{model.size / 1e6:.1f} MB", first)
        )
        rows += [("", "", "", "", "", f"{headline.market}: {headline}") for headline in headlines[1:]]
    return rows
