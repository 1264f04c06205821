"""The registry of the zoo, ``zoo.yaml``: one row for each market, with the model that specialises in it.

A new market, or one at a new frequency, is a row here, a recipe in ``recipes/`` and weights in ``pretrained/``. The
list of models, the benchmarks and the cards all derive from the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.hub.names import CONFIG_NAME, WEIGHTS_NAME

__all__ = [
    "Registry",
    "ZooEntry",
    "ZooMarket",
    "ZooSource",
    "bundled_folder",
    "bundled_names",
    "registry",
    "weights_hash",
    "zoo_entry",
    "zoo_market",
    "zoo_source",
]

ZOO_FILE = Path(__file__).resolve().with_name("zoo.yaml")
PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"

_T = TypeVar("_T")


@dataclass(frozen=True)
class ZooMarket:
    """Facts of a market that models are evaluated on, written by hand; numbers are measured.

    Attributes:
        title: The market in a few words.
        file: File of its bars, by the name that recipes use.
        frequency: Length of a bar, e.g. ``"1h"``.
        calendar: ``"24/7"`` for a market that never closes, ``"sessions"`` for one that does.
        period: Word for a bar in a sentence, e.g. ``"hour"``.
        source: Source of the bars.
        licence: Terms of the bars.
        quirks: What a reader of the numbers must know about the bars.
        test_start: First day of the test period, which no recipe reads.
        test_orders: Orders of the test, one mapping for each longest duration: ``max_periods``, ``every`` (bars between
            starts) and ``null_draws`` (draws of the martingale null).
    """

    title: str
    file: str
    frequency: str
    calendar: str
    period: str
    source: str
    licence: str
    quirks: tuple[str, ...]
    test_start: date
    test_orders: tuple[Mapping[str, int], ...]


@dataclass(frozen=True)
class ZooSource:
    """Source of a file of bars.

    Attributes:
        title: Its content in a few words.
        source: Source of the bars.
        licence: Terms of the bars.
    """

    title: str
    source: str
    licence: str


@dataclass(frozen=True)
class ZooEntry:
    """Facts of a model, written by hand.

    Attributes:
        title: The model in a few words.
        market: Market that it is for.
        frequency: Length of the bars of its evaluations; several, comma-separated.
        description: One paragraph.
        intended_use: What to use it for, one sentence each.
        out_of_scope: What not to use it for, in addition to what holds for every model.
        recipe: File in ``recipes/``.
        evaluations: Markets that it is evaluated on, the most telling first.
        tags: Tags of its card, besides those of every model.
    """

    title: str
    market: str
    frequency: str
    description: str
    intended_use: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    recipe: str
    evaluations: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """All rows.

    Attributes:
        markets: The markets by name.
        specialists: Name of the specialist model by market; some markets have none.
        models: The models by name.
        base: The model for every market.
        sources: Files of bars for training only, which belong to no market.
    """

    markets: Mapping[str, ZooMarket]
    specialists: Mapping[str, str]
    models: Mapping[str, ZooEntry]
    base: str
    sources: Mapping[str, ZooSource]

    @classmethod
    def read(cls, path: Path) -> Registry:
        """Read a registry.

        Raises:
            ConfigError: When a row lacks a field or has an unknown one, or a model names a market that has no row.
        """
        import yaml

        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        markets, specialists, models = {}, {}, {}
        for name, row in content["markets"].items():
            row = dict(row)
            specialist = row.pop("specialist", None)
            markets[name] = _row(ZooMarket, row, f"{path.name}, markets, {name}")
            if specialist is not None:
                specialists[name] = f"lem-{name}"
                models[f"lem-{name}"] = _entry(specialist, [name], markets, f"{path.name}, markets, {name}, specialist")
        for name, row in content["models"].items():
            models[name] = _entry(row, row.get("evaluations", ()), markets, f"{path.name}, models, {name}")
        sources = {
            name: _row(ZooSource, row, f"{path.name}, sources, {name}") for name, row in content["sources"].items()
        }
        return cls(markets, specialists, models, content["base"], sources)


@cache
def registry() -> Registry:
    """The registry of this package."""
    return Registry.read(ZOO_FILE)


def zoo_entry(name: str) -> ZooEntry:
    """The row of a model.

    Raises:
        UnknownNameError: When it has none.
    """
    return _look_up("models", name, registry().models)


def zoo_market(name: str) -> ZooMarket:
    """The row of a market.

    Raises:
        UnknownNameError: When it has none.
    """
    return _look_up("markets", name, registry().markets)


def zoo_source(file: str) -> ZooSource:
    """Source of a file of bars: from the market of the file, or else from its own row.

    Raises:
        UnknownNameError: When it has none.
    """
    for market in registry().markets.values():
        if market.file == file:
            return ZooSource(market.title, market.source, market.licence)
    return _look_up("sources", file, registry().sources)


def bundled_names() -> list[str]:
    """Names of the models whose weights come with the package, sorted."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{CONFIG_NAME}"))


def bundled_folder(name: str) -> Path:
    """Folder of a bundled model; it need not exist."""
    return PRETRAINED / name


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights in a model folder. Results name it, so that they are not used for other weights."""
    return hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()


def _look_up(section: str, name: str, rows: Mapping[str, _T]) -> _T:
    if name not in rows:
        raise UnknownNameError.among(f"entry of zoo.yaml, section {section},", str(name), rows)
    return rows[name]


def _entry(row: Mapping[str, Any], evaluations: list[str], markets: Mapping[str, ZooMarket], where: str) -> ZooEntry:
    unknown = [market for market in evaluations if market not in markets]
    if unknown:
        raise ConfigError(f"{where}: there is no market {', '.join(unknown)}")
    frequency = ", ".join(markets[market].frequency for market in evaluations)
    return _row(ZooEntry, {**row, "evaluations": evaluations, "frequency": frequency}, where)


def _row(kind: type[_T], row: Mapping[str, Any], where: str) -> _T:
    wanted = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(row) != wanted:
        raise ConfigError(f"{where}: missing {sorted(wanted - set(row))}, unexpected {sorted(set(row) - wanted)}")
    return kind(**{key: _plain(value) for key, value in row.items()})


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, date) else str(value).strip()
