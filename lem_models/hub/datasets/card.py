"""The card of a data set: facts measured from the bars, and facts from its publisher.

A generated card has metadata for the Hub, instructions, and a section for each split. A push keeps the text of an
existing card. It changes two keys of the metadata, for the library ``datasets`` to read the right files, and
the generated sections that nobody has edited. Each section stands between marks that carry its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lem_models.errors import LEMError
from lem_models.hub.card import Card
from lem_models.hub.datasets.licence import Licence
from lem_models.hub.datasets.shards import ShardPlan
from lem_models.hub.settings import BarsUpload
from lem_models.markets.calendar.frequency import GROUP, clock
from lem_models.markets.vendors.reading import EXACT

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["measure_bars", "updated_card"]

_SYMBOLS_SHOWN = 100
_MEANINGS = {
    "timestamp": "start of the bar, UTC",
    "symbol": "name of what is traded",
    "open": "first price, in quote units",
    "high": "highest price, in quote units",
    "low": "lowest price, in quote units",
    "close": "last price, in quote units",
    "volume": "traded volume, in base units (coins, shares)",
    "notional": "traded value, in quote units; notional / volume is the VWAP of the bar",
    EXACT: "whether the notional was measured; otherwise it is an estimate",
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
_SECTION = re.compile(
    r"<!-- lem_models: split (?P<split>[\w.]+), sha256 (?P<hash>[0-9a-f]{64}) -->\n"
    r"(?P<text>.*?)<!-- lem_models: end of split (?P=split) -->\n",
    re.DOTALL,
)


def measure_bars(bars: Bars, shards: ShardPlan, meanings: Mapping[str, str]) -> dict[str, Any]:
    """Measure the facts of the card about one split; times are UTC, texts are ready for table cells.

    Args:
        bars: The bars.
        shards: Their columns and shards.
        meanings: Meaning and unit of other columns, by name.

    Raises:
        LEMError: The bars lack a column that is described.
    """
    unknown = sorted(set(meanings) - set(shards.schema.names))
    if unknown:
        raise LEMError(f"the bars have no column {unknown[0]!r} to describe; they have {shards.schema.names}")
    meanings = _MEANINGS | {name: meaning for name, meaning in meanings.items() if meaning}
    by_symbol = bars.gaps.groupby("symbol")["missing"].agg(["size", "max"])
    gaps, longest = by_symbol["size"].to_dict(), by_symbol["max"].to_dict()
    symbols = [
        {
            "name": _cell(name),
            "first": _moment(bars.timestamp[begin]),
            "last": _moment(bars.timestamp[end - 1]),
            "bars": int(end - begin),
            "gaps": int(gaps.get(name, 0)),
            "longest": int(longest.get(name, 0)),
        }
        for name, (begin, end) in zip(bars.symbols, pairwise(bars.offsets), strict=True)
    ]
    return {
        "split": shards.split,
        "first": min(str(symbol["first"]) for symbol in symbols),
        "last": max(str(symbol["last"]) for symbol in symbols),
        "frequency": clock(bars.frequency),
        "calendar": bars.calendar.name,
        "bars": len(bars),
        "gaps": len(bars.gaps),
        "missing": int(bars.gaps["missing"].sum()),
        "idle": sum(int(np.sum(bars.volume[at : at + GROUP] == 0.0)) for at in range(0, len(bars), GROUP)),
        "estimated": f"{100 * bars.estimated_share:.1f} %" if EXACT in bars.columns else "",
        "content_hash": bars.content_hash,
        "columns": [
            {"name": _cell(f.name), "kind": _kind(f.type), "meaning": _cell(meanings.get(f.name, "not described"))}
            for f in shards.schema
        ],
        "symbols": symbols,
    }


def updated_card(
    old: Card, facts: Mapping[str, Any], to: BarsUpload, licence: Licence, metadata: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """The card after a push.

    Args:
        old: The card in the repository.
        facts: Facts of the split, from :func:`measure_bars`.
        to: Facts from the publisher, and whether a new card replaces an existing one.
        licence: Terms.
        metadata: See :func:`~lem_models.hub.datasets.metadata.data_set_metadata`.

    Returns:
        The card, and notes for the publisher.

    Raises:
        LEMError: The card in the repository names another licence, and is not to be replaced.
    """
    quirks = [to.quirks] if isinstance(to.quirks, str) else to.quirks
    section = _render(
        "data_section.md.j2",
        facts=facts,
        source=_cell(to.source or ""),
        quirks=[_line(quirk) for quirk in quirks],
        limit=_SYMBOLS_SHOWN,
    )
    has_card = bool(old.text.strip())
    if not has_card or to.replace_card:
        notes = ("the card in the repository is replaced",) if has_card else ()
        return _new_card(facts, to, licence, metadata, section), notes
    _check_licence(old, licence, to.repo_id)
    if not old.metadata.get("license"):
        metadata = {**_licence_keys(licence), **metadata}
    text = _with_section(old.text, facts["split"], section)
    if text is not None:
        return Card(text).with_metadata(metadata).text, ()
    note = (
        "the card in the repository was written by hand: only its metadata 'configs' and 'dataset_info' are updated "
        "(replace_card=True or --replace-card writes a new one)"
    )
    return old.with_metadata(metadata).text, (note,)


def _new_card(
    facts: Mapping[str, Any], to: BarsUpload, licence: Licence, metadata: Mapping[str, Any], section: str
) -> str:
    name = to.repo_id.partition("/")[2]
    all_metadata = {
        **_licence_keys(licence),
        "pretty_name": name,
        "tags": ["finance", "time-series", "bars", "ohlcv", "lem_models"],
        "size_categories": [next((name for most, name in _SIZES if facts["bars"] < most), "n>1T")],
        **metadata,
    }
    text = _render(
        "data_card.md.j2",
        metadata=yaml.safe_dump(all_metadata, sort_keys=False, allow_unicode=True, width=1000),
        title=name,
        repo_id=to.repo_id,
        facts=facts,
        licence=_line(str(licence)),
        section=_marked(facts["split"], section),
    )
    return text.rstrip("\n") + "\n"


# --- sections --------------------------------------------------------------------------------------------------------


def _with_section(card: str, split: str, section: str) -> str | None:
    """A card with a new section of a split, which replaces the old one or follows those of other splits.

    Returns:
        The card; ``None`` if it has no generated section, or somebody edited the section of this split.
    """
    last = None
    for match in _SECTION.finditer(card.replace("\r\n", "\n")):
        if match["split"] == split:
            if hashlib.sha256(match["text"].encode()).hexdigest() != match["hash"]:
                return None
            return match.string[: match.start()] + _marked(split, section) + match.string[match.end() :]
        last = match
    if last is None or "\r\n" in card:
        return None
    return card[: last.end()] + "\n" + _marked(split, section) + card[last.end() :]


def _marked(split: str, section: str) -> str:
    """A section between the marks of its split."""
    text = section.strip("\n") + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"<!-- lem_models: split {split}, sha256 {digest} -->\n{text}<!-- lem_models: end of split {split} -->\n"


# --- licence and words -----------------------------------------------------------------------------------------------


def _licence_keys(licence: Licence) -> dict[str, str]:
    if not licence.text:
        return {"license": licence.name}
    name = re.sub(r"[^a-z0-9]+", "-", licence.text.lower()).strip("-")[:60].strip("-")
    link = re.search(r"https?://[^\s)>\]]+", licence.text)
    return {"license": "other", "license_name": name or "terms", **({"license_link": link[0]} if link else {})}


def _check_licence(card: Card, licence: Licence, repo_id: str) -> None:
    stated = card.metadata.get("license")
    names = [str(name).lower() for name in (stated if isinstance(stated, list) else [stated]) if name]
    if names and licence.name not in names:
        raise LEMError(
            f"the card of {repo_id!r} has the licence {', '.join(names)}, and the upload has {licence}; pass the same "
            "licence, change the card, or let a new one be written (replace_card=True, --replace-card)"
        )


def _kind(kind: pa.DataType) -> str:
    return {"double": "float64", "float": "float32", "halffloat": "float16"}.get(str(kind), str(kind))


@cache
def _environment() -> Environment:
    """Made once: it keeps the templates that it has compiled."""
    return Environment(
        loader=PackageLoader("lem_models.hub"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


def _line(text: str) -> str:
    """A text on one line, with HTML comments escaped."""
    return " ".join(str(text).split()).replace("<!--", "&lt;!--").replace("-->", "--&gt;")


def _cell(text: str) -> str:
    """A text for a table cell."""
    return _line("".join(c if c.isprintable() else " " for c in str(text))).replace("|", "\\|").replace("<", "&lt;")


def _moment(nanoseconds: np.int64 | int) -> str:
    return f"{pd.Timestamp(int(nanoseconds), unit='ns'):%Y-%m-%d %H:%M}"
