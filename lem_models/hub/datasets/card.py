"""The card of a data set: measured from the bars, with what only its publisher can say.

A generated card has a head for the Hub, instructions, and a section for each split. The head is in step with the files
after every push, whoever wrote the rest (:mod:`~lem_models.hub.datasets.card_text` says what is replaced).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lem_models.errors import LEMError
from lem_models.guard.yaml import parse_yaml
from lem_models.hub.datasets.card_text import marked, put_section, replace_keys, split_card
from lem_models.hub.datasets.licence import Licence
from lem_models.markets.calendar.frequency import GROUP, clock

if TYPE_CHECKING:
    from lem_models.hub.datasets.shards import ShardPlan
    from lem_models.markets.bars import Bars

__all__ = ["CardWords", "card_text", "data_set_metadata"]

SYMBOLS_SHOWN = 100
_MEANINGS = {
    "timestamp": "start of the bar, UTC",
    "symbol": "name of what is traded",
    "open": "first price, in quote units",
    "high": "highest price, in quote units",
    "low": "lowest price, in quote units",
    "close": "last price, in quote units",
    "volume": "traded volume, in base units (coins, shares)",
    "notional": "traded value, in quote units; notional / volume is the VWAP of the bar",
}
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
)


@dataclass(frozen=True)
class CardWords:
    """What only the publisher can say.

    Attributes:
        licence: Terms.
        source: Where the bars come from.
        quirks: What a reader of the bars must know, one sentence each.
        columns: Meaning and unit of other columns, by name.
    """

    licence: Licence
    source: str = ""
    quirks: Sequence[str] = ()
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str
    meaning: str


@dataclass(frozen=True)
class _Symbol:
    name: str
    first: str
    last: str
    bars: int
    gaps: int
    longest: int


@dataclass(frozen=True)
class _Facts:
    split: str
    first: str
    last: str
    frequency: str
    calendar: str
    bars: int
    gaps: int
    missing: int
    idle: int
    content_hash: str
    columns: Sequence[_Column]
    symbols: Sequence[_Symbol]
    summary: str


def card_text(
    bars: Bars,
    plan: ShardPlan,
    words: CardWords,
    repo_id: str,
    metadata: Mapping[str, Any],
    old: str,
    *,
    replace: bool = False,
) -> tuple[str, list[str]]:
    """The card after a push.

    Args:
        bars: The bars of one split.
        plan: Their columns and shards.
        words: What the publisher says.
        repo_id: Name of the data set.
        metadata: See :func:`data_set_metadata`.
        old: The card in the repository; empty if there is none.
        replace: Whether to write a new card over one that is there.

    Returns:
        The card, and remarks for the publisher.

    Raises:
        LEMError: The card in the repository names another licence, and is not to be replaced.
    """
    facts = _facts(bars, plan, words)
    section = _render(
        "data_section.md.j2",
        facts=facts,
        source=_cell(words.source),
        quirks=[_line(quirk) for quirk in words.quirks],
        limit=SYMBOLS_SHOWN,
    )
    if not old.strip() or replace:
        head = {
            **_licence_keys(words.licence),
            "pretty_name": repo_id.partition("/")[2],
            "tags": ["finance", "time-series", "bars", "ohlcv", "lem_models"],
            "size_categories": [next((name for most, name in _SIZES if len(bars) < most), "n>1T")],
            **metadata,
        }
        card = _render(
            "data_card.md.j2",
            head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000),
            title=repo_id.partition("/")[2],
            repo_id=repo_id,
            facts=facts,
            licence=_line(str(words.licence)),
            section=marked(plan.split, section),
        )
        return card.rstrip("\n") + "\n", ["the card in the repository is replaced"] if old.strip() else []
    _check_licence(old, words.licence, repo_id)
    remarks: list[str] = []
    updated = put_section(old, plan.split, section)
    if updated is None:
        remarks.append(
            "the card in the repository was written by hand: only 'configs' and 'dataset_info' in its head are kept "
            "step (replace_card=True or --replace-card writes a new one)"
        )
        updated = old
    known: Any = parse_yaml(split_card(old)[0]) or {}
    missing = {key: value for key, value in _licence_keys(words.licence).items() if not known.get("license")}
    return replace_keys(updated, {**missing, **metadata}), remarks


def data_set_metadata(
    old: str, plan: ShardPlan, rows: int, sizes: Mapping[str, int], expanded: int, repo_id: str
) -> dict[str, Any]:
    """The keys ``configs`` and ``dataset_info`` of the head, as the library ``datasets`` reads them.

    Args:
        old: The card in the repository.
        plan: The split that is published; splits that are there already stay.
        rows: Its bars.
        sizes: Bytes of every parquet file after the push, by path.
        expanded: Bytes of the split in memory.
        repo_id: Name of the data set.

    Raises:
        LEMError: Other splits have other columns, or the head cannot be read.
    """
    try:
        known = parse_yaml(split_card(old)[0]) or {}
        return _metadata(known, plan, rows, sizes, expanded, repo_id)
    except LEMError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise LEMError(
            f"the head of the card of {repo_id!r} cannot be read ({' '.join(str(error).split())[:200]}): repair it, or "
            "let a new card be written (replace_card=True, --replace-card)"
        ) from None


def _metadata(
    known: Any,  # noqa: ANN401 (whatever a card says)
    plan: ShardPlan,
    rows: int,
    sizes: Mapping[str, int],
    expanded: int,
    repo_id: str,
) -> dict[str, Any]:
    from datasets import DatasetInfo

    configs = [dict(entry) for entry in known.get("configs") or ()]
    infos = known.get("dataset_info") or []
    infos = [dict(entry) for entry in (infos if isinstance(infos, list) else [infos])]
    config = next((entry for entry in configs if entry.get("config_name") == "default"), None)
    if config is None:
        config = {"config_name": "default"}
        configs.append(config)
    given = config.get("data_files") or []
    entries = given if isinstance(given, list) else [given]
    files = [entry if isinstance(entry, dict) else {"split": "train", "path": entry} for entry in entries]
    ours = {"split": plan.split, "path": f"data/{plan.split}-*"}
    config["data_files"] = [ours if entry.get("split") == plan.split else entry for entry in files]
    if ours not in config["data_files"]:
        config["data_files"].append(ours)
    others = [str(entry.get("split")) for entry in config["data_files"] if entry is not ours]

    features = DatasetInfo(features=plan.features)._to_yaml_dict()["features"]
    info = next((entry for entry in infos if entry.get("config_name", "default") == "default"), None)
    if info is None:
        info = {"config_name": "default"} if infos else {}
        infos.append(info)
    elif others and info.get("features") not in (None, features):
        raise LEMError(
            f"the split {plan.split!r} has other columns than {', '.join(map(repr, others))} of {repo_id!r}, which has "
            f"{[entry.get('name') for entry in info['features'] if isinstance(entry, dict)]}; all splits of a data set "
            "have the same columns and types"
        )
    split = {"name": plan.split, "num_bytes": expanded, "num_examples": rows}
    splits = [entry for entry in info.get("splits") or () if entry.get("name") in others]
    order = [str(entry.get("split")) for entry in config["data_files"]]
    info["features"] = features
    info["splits"] = sorted([*splits, split], key=lambda entry: order.index(entry["name"]))
    info["download_size"] = sum(
        size for path, size in sizes.items() if any(path.startswith(f"data/{name}-") for name in order)
    )
    info["dataset_size"] = sum(int(entry.get("num_bytes") or 0) for entry in info["splits"])
    return {"configs": configs, "dataset_info": infos[0] if len(infos) == 1 else infos}


def _facts(bars: Bars, plan: ShardPlan, words: CardWords) -> _Facts:
    gaps = bars.gaps
    by_symbol = gaps.groupby("symbol")["missing"].agg(["size", "max"])
    counts, longest = by_symbol["size"].to_dict(), by_symbol["max"].to_dict()
    symbols = [
        _Symbol(
            _cell(name),
            _moment(bars.timestamp[bars.offsets[number]]),
            _moment(bars.timestamp[bars.offsets[number + 1] - 1]),
            int(bars.offsets[number + 1] - bars.offsets[number]),
            int(counts.get(name, 0)),
            int(longest.get(name, 0)),
        )
        for number, name in enumerate(bars.symbols)
    ]
    described = words.columns or {}
    unknown = sorted(set(described) - set(plan.schema.names))
    if unknown:
        raise LEMError(f"the bars have no column {unknown[0]!r} to describe; they have {plan.schema.names}")
    columns = [
        _Column(_cell(f.name), _kind(f.type), _cell(described.get(f.name) or _MEANINGS.get(f.name, "not described")))
        for f in plan.schema
    ]
    first, last = (_moment(edge) for edge in bars._edges())
    count = f"{len(bars.symbols):,} symbol{'' if len(bars.symbols) == 1 else 's'}"
    return _Facts(
        split=plan.split,
        first=first,
        last=last,
        frequency=clock(bars.frequency),
        calendar=bars.calendar.name,
        bars=len(bars),
        gaps=len(gaps),
        missing=int(gaps["missing"].sum()),
        idle=sum(int(np.sum(bars.volume[at : at + GROUP] == 0.0)) for at in range(0, len(bars), GROUP)),
        content_hash=bars.content_hash,
        columns=columns,
        symbols=symbols,
        summary=f"{count}, every {clock(bars.frequency)}, {first} to {last} UTC",
    )


def _kind(kind: pa.DataType) -> str:
    return {"double": "float64", "float": "float32", "halffloat": "float16"}.get(str(kind), str(kind))


def _licence_keys(licence: Licence) -> dict[str, str]:
    if not licence.text:
        return {"license": licence.name}
    name = re.sub(r"[^a-z0-9]+", "-", licence.text.lower()).strip("-")[:60].strip("-")
    link = re.search(r"https?://[^\s)>\]]+", licence.text)
    return {"license": "other", "license_name": name or "terms", **({"license_link": link[0]} if link else {})}


def _check_licence(card: str, licence: Licence, repo_id: str) -> None:
    known: Any = parse_yaml(split_card(card)[0]) or {}
    stated = known.get("license")
    names = [str(name).lower() for name in (stated if isinstance(stated, list) else [stated]) if name]
    if names and licence.name not in names:
        raise LEMError(
            f"the card of {repo_id!r} says that the licence is {', '.join(names)}, now it is {licence}; pass the same "
            "licence, change the card, or let a new one be written (replace_card=True, --replace-card)"
        )


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("lem_models.hub"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    return environment.get_template(template).render(**values)


def _line(text: str) -> str:
    """A text in one line that ends no comment and opens none."""
    return " ".join(str(text).split()).replace("<!--", "&lt;!--").replace("-->", "--&gt;")


def _cell(text: str) -> str:
    """A text in a cell of a table."""
    return _line("".join(c if c.isprintable() else " " for c in str(text))).replace("|", "\\|").replace("<", "&lt;")


def _moment(nanoseconds: np.int64 | int) -> str:
    return f"{pd.Timestamp(int(nanoseconds), unit='ns'):%Y-%m-%d %H:%M}"
