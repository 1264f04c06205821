"""Publish bars on the Hub as a data set of parquet shards with a card.

One push is one commit: the shards of a split, the removal of the shards that they replace, and the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lem_models.hub.card import Card
from lem_models.hub.commit import Draft, DraftMaker, Plan, PlannedFile, Writers, commit, make_plan
from lem_models.hub.datasets.benchmark import EVAL_NAME, eval_file
from lem_models.hub.datasets.card import measure_bars, updated_card
from lem_models.hub.datasets.licence import read_licence
from lem_models.hub.datasets.metadata import data_set_metadata
from lem_models.hub.datasets.shards import check_bars, plan_shards, write_shard
from lem_models.hub.names import CARD_NAME
from lem_models.hub.repository import Repository
from lem_models.hub.settings import BarsUpload, size_in_bytes

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["BarsUpload", "plan_bars", "publish_bars", "push_bars"]


def push_bars(bars: Bars, to: BarsUpload) -> str:
    """Publish bars; return the URL of the commit or pull request. See :meth:`lem_models.Bars.push_to_hub`."""
    return publish_bars(bars, to).url


def publish_bars(bars: Bars, to: BarsUpload) -> Plan:
    """Publish bars as a split of a data set.

    Args:
        bars: The bars.
        to: The destination, and facts for the card.

    Returns:
        The publication, with the URL of the commit or pull request.

    Raises:
        BarsError: The licence does not name terms, a bar breaks a rule, or a column is of a type that is not published.
            Then the Hub is not asked anything.
        LEMError: The Hub refuses or cannot be reached, or the card in the repository contradicts the upload.
    """
    return commit(*_publication(bars, to))


def plan_bars(bars: Bars, to: BarsUpload) -> Plan:
    """Plan :func:`publish_bars`; nothing is changed. Raises the same errors."""
    return make_plan(*_publication(bars, to))


def _publication(bars: Bars, to: BarsUpload) -> tuple[BarsUpload, DraftMaker, Writers]:
    licence = read_licence(to.licence)
    shards = plan_shards(bars, to.split, size_in_bytes(to.max_shard_size))
    evaluation = () if to.benchmark is None else (PlannedFile.of(EVAL_NAME, eval_file(to.benchmark, to.split)),)
    check_bars(bars)
    facts = measure_bars(bars, shards, to.columns or {})
    message = to.commit_message or f"Bars: split {to.split}, {len(bars):,} bars"

    def make_draft(repository: Repository | None, large: Sequence[PlannedFile]) -> Draft:
        files = {} if repository is None else repository.files
        old = Card() if repository is None else repository.read_card()
        parquet = {path: file.size or 0 for path, file in files.items() if path.endswith(".parquet")}
        replaced = [path for path in parquet if path.startswith(f"data/{to.split}-") and path not in shards.paths]
        sizes = {path: size for path, size in parquet.items() if path not in replaced}
        sizes |= {file.path: file.size for file in large}
        # A new card still names the other splits, if the old one can be read.
        metadata = data_set_metadata(old, shards, sizes, to.repo_id)
        card, notes = updated_card(old, facts, to, licence, metadata)
        removed = [PlannedFile(path, state="removed") for path in replaced]
        return Draft((*large, *removed, *evaluation, PlannedFile.of(CARD_NAME, card.encode())), notes)

    writers = {path: partial(write_shard, bars, shards, number) for number, path in enumerate(shards.paths)}
    return to.model_copy(update={"commit_message": message}), make_draft, writers
