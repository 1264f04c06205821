"""What is published of a model folder: configuration, weights, card, the pictures the card shows, evaluation results.

Nothing else leaves the folder: records of a run (``run.json``, ``finetune.json``) name files of the machine that made
them, checkpoints hold the state of an optimiser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lem_models.errors import ConfigError
from lem_models.guard.text import one_line
from lem_models.guard.yaml import parse_yaml
from lem_models.hub.models.eval_results import eval_results
from lem_models.hub.models.load import CONFIG_NAME, WEIGHTS_NAME, check_hash, check_links, read_pair
from lem_models.hub.models.plain_card import RECORD, plain_card
from lem_models.hub.models.zoo import METRICS_NAME
from lem_models.modeling.config import ConfigFile, LEMConfig

__all__ = ["CARD_NAME", "Contents", "card_metadata_of", "contents_of"]

CARD_NAME = "README.md"

_MAX_CARD = 1 << 20
_MAX_PICTURE = 1 << 23
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
_LINK = re.compile(r"!\[[^\]]*\]\(\s*<?([^\s)>]+)|<img[^>]+src=[\"']([^\"']+)")
_HEAD = re.compile(r"\A---\r?\n(.*?)\r?\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Contents:
    """Files of a model, ready to be sent.

    Attributes:
        files: Content by path in the repository.
        card_files: Those of them that belong to the card: it and its pictures.
        notes: What was left out, or ought to be known, one sentence each.
    """

    files: Mapping[str, bytes]
    card_files: frozenset[str]
    notes: tuple[str, ...]

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights."""
        return hashlib.sha256(self.files[WEIGHTS_NAME]).hexdigest()


def contents_of(
    folder: Path,
    *,
    name: str,
    repo_id: str,
    card: Path | None = None,
    licence: str | None = None,
    eval_data: Mapping[str, str] | None = None,
) -> Contents:
    """Collect what is published of a model folder.

    Args:
        folder: The folder; its model is taken to be valid.
        name: Name of the model, for a card that has to be made.
        repo_id: Where it goes, for the same.
        card: Card to send; default ``README.md`` of the folder, and a plain one where there is none.
        licence: Licence of the model, for a plain card.
        eval_data: Data set by evaluation market, see :func:`~lem_models.hub.models.eval_results.eval_results`.

    Raises:
        ConfigError: when a file is a link that leads out of the folder, the card cannot be read or its metadata are no
            YAML, or the licence contradicts it.
    """
    notes: list[str] = []
    # A link in a stranger's folder would publish another file of this machine.
    check_links(folder, (METRICS_NAME, RECORD, *(() if card else (CARD_NAME,))))
    config, files = read_pair(folder, _pair)
    weights = hashlib.sha256(files[WEIGHTS_NAME]).hexdigest()
    source = card if card is not None else folder / CARD_NAME
    pictures: dict[str, bytes] = {}
    if card is None and not source.is_file():
        text, said = plain_card(config, name, repo_id, folder, weights=weights, licence=licence)
        notes.extend(said)
        files[CARD_NAME] = text.encode()
    else:
        files[CARD_NAME] = _read(source, _MAX_CARD)
        metadata = card_metadata_of(files[CARD_NAME], source)
        stated = metadata.get("license")
        if licence is not None and licence != stated:
            raise ConfigError(
                f"the card {source} says license: {stated}, not {licence}: edit the card, it is sent as it is"
            )
        notes.extend(
            f"the card {source.name} has no {key} in its metadata"
            for key in ("license", "library_name", "tags")
            if not metadata.get(key)
        )
        pictures = _pictures(files[CARD_NAME].decode(), source.parent, notes)
    results, said = eval_results(folder, weights, eval_data or {})
    notes.extend(said)
    files |= pictures | results
    return Contents(files, frozenset({CARD_NAME, *pictures}), tuple(map(one_line, notes)))


def card_metadata_of(content: bytes, source: Path) -> dict[str, Any]:
    """The YAML head of a card; empty when it has none.

    Raises:
        ConfigError: when the card is not UTF-8 or its head is no YAML mapping.
    """
    try:
        head = _HEAD.match(content.decode("utf-8"))
        metadata = parse_yaml(head[1]) if head else {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the card {source} cannot be published: {' '.join(str(error).split())}") from None
    if not isinstance(metadata, dict):
        raise ConfigError(f"the card {source} cannot be published: its metadata are no mapping")
    return metadata


def _pair(file: ConfigFile, stored: BinaryIO) -> tuple[LEMConfig, dict[str, bytes]]:
    """Configuration, and both files as they are sent."""
    weights = stored.read()
    check_hash(weights, file.weights_sha256)
    return file.config, {CONFIG_NAME: file.text.encode(), WEIGHTS_NAME: weights}


def _pictures(card: str, folder: Path, notes: list[str]) -> dict[str, bytes]:
    """Pictures that the card shows and that lie in its folder, by the path that the card names."""
    found: dict[str, bytes] = {}
    for link in {one or other for one, other in _LINK.findall(card)}:
        path = PurePosixPath(link)
        if "://" in link or link.startswith(("data:", "#", "/")):
            continue
        inside = (folder / path).resolve()
        if ".." in path.parts or not inside.is_relative_to(folder.resolve()):
            notes.append(f"the picture {link} lies outside the card's folder and stays here")
        elif path.suffix.lower() not in _PICTURES or not inside.is_file():
            notes.append(f"the card shows {link}, which is no picture in its folder")
        else:
            found[str(path)] = _read(inside, _MAX_PICTURE)
    return dict(sorted(found.items()))


def _read(path: Path, largest: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise ConfigError(f"{path} has {size} bytes, more than the {largest} that are published of such a file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
