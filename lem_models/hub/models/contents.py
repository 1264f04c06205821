"""Files of a model folder that are published: configuration, weights, card, the card's pictures, evaluation results.

Nothing else is published. The files of a training (``run.json``, ``finetune.json``) name files of the machine, and
checkpoints hold the state of an optimiser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lem_models.errors import ConfigError
from lem_models.guard.text import one_line
from lem_models.hub.card import MAX_CARD_BYTES, Card
from lem_models.hub.models.card_names import with_hub_ids
from lem_models.hub.models.eval_results import eval_results
from lem_models.hub.models.folder import check_hash, check_links, read_pair
from lem_models.hub.models.plain_card import FINETUNE_NAME, plain_card
from lem_models.hub.names import CARD_NAME, CONFIG_NAME, METRICS_NAME, WEIGHTS_NAME
from lem_models.hub.settings import ModelUpload
from lem_models.modeling.config import ConfigFile, LEMConfig

__all__ = ["Contents", "contents_of"]

_MAX_PICTURE = 1 << 23
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
_LINK = re.compile(r"!\[[^\]]*\]\(\s*<?([^\s)>]+)|<img[^>]+src=[\"']([^\"']+)")


@dataclass(frozen=True)
class Contents:
    """Files of a model, ready to be sent.

    Attributes:
        files: Content by path in the repository.
        card_files: Paths of the card and its pictures.
        notes: Notes for the publisher, one sentence each; they also name what was left out.
    """

    files: Mapping[str, bytes]
    card_files: frozenset[str]
    notes: tuple[str, ...]


def contents_of(folder: Path, to: ModelUpload) -> Contents:
    """Collect the files of a model folder that are published.

    Args:
        folder: The folder; its model must be valid.
        to: The destination, and what is published with the model.

    Raises:
        ConfigError: when a file is a link that leads out of the folder, the card cannot be read or its metadata are
            not YAML, or the licence contradicts the card.
    """
    # A link in an untrusted folder would publish another file of this machine.
    check_links(folder, (METRICS_NAME, FINETUNE_NAME, *(() if to.card else (CARD_NAME,))))
    config, files = read_pair(folder, _pair)
    weights = hashlib.sha256(files[WEIGHTS_NAME]).hexdigest()
    source = Path(to.card) if to.card is not None else folder / CARD_NAME
    pictures: dict[str, bytes] = {}
    if to.card is None and not source.is_file():
        card, notes = plain_card(config, to, folder, weights=weights)
    else:
        card, notes = _written_card(source, to)
        pictures = _pictures(card, source.parent, notes)
    results, without_results = eval_results(folder, weights, to.eval_data or {})
    files |= {CARD_NAME: card.encode(), **pictures, **results}
    return Contents(files, frozenset({CARD_NAME, *pictures}), tuple(map(one_line, [*notes, *without_results])))


def _written_card(path: Path, to: ModelUpload) -> tuple[str, list[str]]:
    """The text of a written card with ids of the Hub for names of the zoo, and notes on it."""
    licence = to.licence
    try:
        card = Card(_read(path, MAX_CARD_BYTES).decode("utf-8"))
        metadata = card.metadata
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the card {path} cannot be published: {' '.join(str(error).split())}") from None
    stated = metadata.get("license")
    if licence is not None and licence != stated:
        raise ConfigError(
            f"the card {path} says license: {stated}, not {licence}: edit the card, which is sent unchanged"
        )
    missing = [key for key in ("license", "library_name", "tags") if not metadata.get(key)]
    card, notes = with_hub_ids(card, to.repo_id, to.eval_data or {})
    return card.text, [*(f"the card {path.name} has no {key} in its metadata" for key in missing), *notes]


def _pair(file: ConfigFile, stored: BinaryIO) -> tuple[LEMConfig, dict[str, bytes]]:
    """Configuration, and the content of both files."""
    weights = stored.read()
    check_hash(weights, file.weights_sha256)
    return file.config, {CONFIG_NAME: file.text.encode(), WEIGHTS_NAME: weights}


def _pictures(card: str, folder: Path, notes: list[str]) -> dict[str, bytes]:
    """Pictures of the card that lie in its folder, by the path in the card."""
    pictures: dict[str, bytes] = {}
    for link in {markdown or html for markdown, html in _LINK.findall(card)}:
        path = PurePosixPath(link)
        if "://" in link or link.startswith(("data:", "#", "/")):
            continue
        inside = (folder / path).resolve()
        if ".." in path.parts or not inside.is_relative_to(folder.resolve()):
            notes.append(f"the picture {link} lies outside the card's folder and is not sent")
        elif path.suffix.lower() not in _PICTURES or not inside.is_file():
            notes.append(f"the card shows {link}, which is not a picture in its folder")
        else:
            pictures[str(path)] = _read(inside, _MAX_PICTURE)
    return dict(sorted(pictures.items()))


def _read(path: Path, largest: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise ConfigError(f"{path} has {size} bytes, more than the {largest} that such a file may have")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
