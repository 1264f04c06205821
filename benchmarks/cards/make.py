"""Model cards and metrics of every bundled model, from the recorded results: one command, and a check.

    python benchmarks/cards/make.py            # writes the cards and the metrics
    python benchmarks/cards/make.py --check    # exit code 1 if one of them is not what the records say

It writes the card to ``model_cards/<name>/``, and the card again and ``metrics.json`` to
``lem_models/pretrained/<name>/``: an installed package publishes them with the model. It reads the recipe and the
configuration of the model, and from ``benchmarks/results/``:

- ``<market>.json`` of ``benchmarks/zoo.py``, for the markets of the model in ``lem_models/hub/models/zoo.yaml``;
- ``seeds-<name>.json`` of ``benchmarks/seeds.py``, if it exists;
- every ``frontier*.json`` of ``benchmarks/frontier.py`` in which the model takes part, with its picture.

A market without a record is named and counts as a fault, unless ``--missing-ok``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cards.card import CardSources, metrics_of, metrics_text, render_card
from benchmarks.records import MarketRecord, check_weights, read_market_record
from lem_models import LEMModel
from lem_models.errors import LEMError
from lem_models.guard.output import write_text
from lem_models.hub.models.registry import weights_hash
from lem_models.hub.models.zoo import ZooModel, list_models
from lem_models.hub.names import CARD_NAME, METRICS_NAME
from lem_models.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CARDS = ROOT / "model_cards"


@dataclass(frozen=True)
class MadeFiles:
    """Files of one model, and the markets that it has no record for."""

    files: Mapping[Path, bytes]
    missing: tuple[str, ...]


def sources_of(name: ZooModel, results: Path = RESULTS) -> CardSources:
    """Everything that the card of a model is made from.

    Raises:
        ConfigError: When a record or a recipe cannot be read, or a frontier was measured with other weights.
    """
    records = [_market_record(results / f"{market}.json", name) for market in name.entry.evaluations]
    recipe = Recipe.read(ROOT / "recipes" / name.entry.recipe)
    start = None
    if recipe.finetune is not None and recipe.finetune.start in list_models():
        before = ZooModel(recipe.finetune.start)
        start = (str(before), Recipe.read(ROOT / "recipes" / before.entry.recipe))
    dials = []
    for path in sorted(results.glob("frontier*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if name in record["models"]:
            check_weights(record, path.name, name, weights_hash(name.folder))
            dials.append((record, picture.name if (picture := path.with_suffix(".png")).is_file() else None))
    return CardSources(
        name,
        [record for record in records if record is not None],
        recipe,
        start,
        seeds=_optional(results / f"seeds-{name}.json"),
        dials=dials,
    )


def make(name: ZooModel, results: Path = RESULTS) -> MadeFiles:
    """Card, metrics and picture of a model, not yet written.

    Raises:
        LEMError: When a source cannot be read, or was measured with other weights.
    """
    sources = sources_of(name, results)
    card = CARDS / name
    shown = {CARD_NAME: render_card(sources, LEMModel.from_pretrained(name)).encode()}
    shown |= {picture: (results / picture).read_bytes() for _, picture in sources.dials if picture}
    files = {folder / file: content for folder in (card, name.folder) for file, content in shown.items()}
    files[name.folder / METRICS_NAME] = metrics_text(metrics_of(name, sources.records)).encode()
    measured = {record.market for record in sources.records}
    return MadeFiles(files, tuple(market for market in name.entry.evaluations if market not in measured))


def stale(made: MadeFiles) -> list[Path]:
    """Files that are not on disk as they should be."""
    return [path for path, content in made.files.items() if not path.is_file() or path.read_bytes() != content]


def _market_record(path: Path, name: str) -> MarketRecord | None:
    """The record, if there is one and the model took part in it."""
    if not path.is_file():
        return None
    record = read_market_record(path)
    return record if any(name in run.policies for run in record.runs) else None


def _optional(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def main() -> None:
    """Write the files, or say which ones are out of step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something is out of step")
    parser.add_argument("--missing-ok", action="store_true", help="a market without a record is no fault")
    parser.add_argument("--models", nargs="+", default=list(list_models()), help="default: every bundled model")
    given = parser.parse_args()
    faults = 0
    for name in map(ZooModel, given.models):
        try:
            made = make(name)
        except LEMError as error:
            print(f"{name}: {error}", file=sys.stderr)
            faults += 1
            continue
        for market in made.missing:
            print(f"{name}: no record of {market}: python benchmarks/zoo.py --market {market} ...", file=sys.stderr)
            faults += not given.missing_ok
        for path in stale(made):
            shown = path.relative_to(ROOT)
            if given.check:
                print(
                    f"{name}: {shown} is not what the records say; run python benchmarks/cards/make.py", file=sys.stderr
                )
                faults += 1
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix == ".png":
                    path.write_bytes(made.files[path])
                else:
                    write_text(path, made.files[path].decode())
                print(f"{name}: {shown}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
