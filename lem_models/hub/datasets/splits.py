"""The files of each split of a data set, by the card or else by the names of the files.

The card's ``configs`` are read as the library ``datasets`` reads them, but only parquet files of the same repository
are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lem_models.errors import LEMError, UnknownNameError
from lem_models.hub.datasets.snapshot import Snapshot
from lem_models.hub.names import check_split_name
from lem_models.hub.repository import HubFile

__all__ = ["split_files"]

_NUMBERED = re.compile(r"(?P<start>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>.*)\.parquet")


def split_files(snapshot: Snapshot, split: str, config: str | None = None) -> list[HubFile]:
    """Parquet files of a split, in order.

    Args:
        snapshot: The repository.
        split: Name of the split.
        config: Configuration of a repository with several tables; default its default one.

    Raises:
        UnknownNameError: The split or the configuration does not exist.
        LEMError: The card is not readable, a file is not parquet, a shard is missing, or a pattern leads out of the
            repository.
    """
    check_split_name(split)
    patterns = _patterns(snapshot, config)
    if patterns is None:
        splits = {name: files for name, files in _by_name(snapshot.files) if files}
        if not splits:
            splits = {"train": [path for path in sorted(snapshot.files) if path.endswith(".parquet")]}
    else:
        splits = {name: _matching(given, snapshot) for name, given in patterns.items()}
    if split not in splits:
        raise UnknownNameError.among(f"split of {snapshot.repo_id!r}", split, splits)
    paths = splits[split]
    if not paths:
        raise LEMError(f"{snapshot.repo_id!r} has no parquet file for its split {split!r}; only parquet is read")
    for path in paths:
        if not path.endswith(".parquet"):
            raise LEMError(f"the split {split!r} of {snapshot.repo_id!r} has the file {path}; only parquet is read")
    absent = [path for path in paths if snapshot.is_cached and snapshot.files[path].size is None]
    if absent:
        raise LEMError(
            f"the cached copy of {snapshot.repo_id!r} has {len(paths) - len(absent)} of the {len(paths)} files of its "
            f"split {split!r}; {absent[0]} is missing. Get them once with network access: `hf download "
            f"{snapshot.repo_id} --repo-type dataset --revision {snapshot.commit}`"
        )
    _check_complete(paths, snapshot)
    return [snapshot.files[path] for path in paths]


def _patterns(snapshot: Snapshot, config: str | None) -> dict[str, list[str]] | None:
    """Patterns of the files of each split in the card; ``None`` if it has none."""
    what = f"the card of {snapshot.repo_id!r}"
    try:
        configs = snapshot.card.metadata.get("configs")
    except ValueError as error:
        raise LEMError(f"{what} has metadata that cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not configs:
        if config not in (None, "default"):
            raise UnknownNameError.among(f"configuration of {snapshot.repo_id!r}", config, ["default"])
        return None
    if not isinstance(configs, list) or not all(
        isinstance(c, dict) and isinstance(c.get("config_name"), str) for c in configs
    ):
        raise LEMError(f"{what} is wrong: 'configs' is a list of mappings with a 'config_name'")
    by_name = {entry["config_name"]: entry for entry in configs}
    if config is None:
        standard = [name for name, entry in by_name.items() if entry.get("default") is True]
        config = standard[0] if standard else "default" if len(by_name) > 1 else next(iter(by_name))
    if config not in by_name:
        raise UnknownNameError.among(f"configuration of {snapshot.repo_id!r}", config, by_name)
    given: Any = by_name[config].get("data_files")
    if given is None:
        return None
    entries = given if isinstance(given, list) else [given]
    patterns: dict[str, list[str]] = {}
    for entry in entries:
        name, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        listed: list[Any] = paths if isinstance(paths, list) else [paths]
        if not isinstance(name, str) or not all(isinstance(path, str) for path in listed):
            raise LEMError(f"{what} is wrong: 'data_files' of {config!r} is a list of a 'split' and its 'path' each")
        patterns.setdefault(name, []).extend(listed)
    return patterns


def _by_name(files: Mapping[str, HubFile]) -> Iterator[tuple[str, list[str]]]:
    """Files of each split by their names, such as ``data/train-00000-of-00001.parquet``, ``test.parquet``."""
    parquet = [path for path in sorted(files) if path.endswith(".parquet")]
    for split in ("train", "validation", "test"):
        form = re.compile(rf"(.*/)?{split}([-._/].*)?\.parquet")
        yield split, [path for path in parquet if form.fullmatch(path)]


def _matching(patterns: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Files that match patterns: ``*`` stands for part of a name, ``**`` for folders too."""
    matching: dict[str, None] = {}  # in order, each once
    for pattern in patterns:
        if pattern.startswith("/") or "\\" in pattern or ":" in pattern or ".." in pattern.split("/"):
            raise LEMError(
                f"the card of {snapshot.repo_id!r} names the data files {pattern!r}, which are not in the repository: "
                "nothing was read"
            )
        matching.update(dict.fromkeys(path for path in sorted(snapshot.files) if _fits(path, pattern)))
    return list(matching)


def _fits(path: str, pattern: str) -> bool:
    """Whether a path matches a pattern. The time is bounded by the lengths of both, for any untrusted pattern."""
    ends = {0}  # positions in the path where a match of the pattern so far can end
    for token in re.split(r"(\*\*/?|\*|\?)", pattern):
        if token in ("**", "**/", "*"):
            reach, inside = set(), False
            for at in range(len(path) + 1):
                goes_on = inside and (token != "*" or path[at - 1] != "/")
                inside = at in ends or goes_on
                if at in ends or (goes_on and (token != "**/" or path[at - 1] == "/")):
                    reach.add(at)
            ends = reach
        elif token == "?":
            ends = {end + 1 for end in ends if path[end : end + 1] not in ("", "/")}
        elif token:
            ends = {end + len(token) for end in ends if path.startswith(token, end)}
    return len(path) in ends


def _check_complete(paths: Sequence[str], snapshot: Snapshot) -> None:
    """Check that no shard of a numbered sequence is missing."""
    groups: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        numbered = _NUMBERED.fullmatch(path)
        if numbered:
            groups.setdefault((numbered["start"], int(numbered["count"])), set()).add(int(numbered["number"]))
    for (start, count), numbers in groups.items():
        if numbers != set(range(count)):
            missing = min(set(range(count)) - numbers, default=None)
            where = "cached copy" if snapshot.is_cached else "repository"
            raise LEMError(
                f"the {where} of {snapshot.repo_id!r} has {len(numbers)} of the {count} files {start}-*.parquet"
                + (f"; number {missing} is missing" if missing is not None else "")
            )
