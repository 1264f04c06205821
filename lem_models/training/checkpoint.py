"""Training checkpoints (``.ckpt``), from which a run resumes. They are pickles, opened as plain data only.

Each checkpoint holds its recipe and the hash of its bars (:class:`RunStamp`). A run resumes only with the same recipe
and bars.

``torch.load(weights_only=True)`` reads tensors and plain values and calls no other code. Before that, the file is
checked to be an archive as ``torch.save`` writes them. The other formats of torch are refused: the oldest one, a tar
archive, bypassed ``weights_only`` in torch before 2.6 (CVE-2025-32434). The members of the archive must be stored
uncompressed, so a small file cannot expand to a large one.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.guard.text import open_regular, place, shown
from lem_models.training.recipe import Recipe, without_number

__all__ = ["MovableCheckpoint", "RunStamp", "check_checkpoint", "read_checkpoint", "stamp_of"]

_STAMP = "run"  # key in a checkpoint
_CHANGES_SHOWN = 8
_BARS = "content of the bars of data."  # and the number of the market
# Settings that may differ in a resumed run, because they change neither the data nor what the model learns from them.
_MAY_CHANGE = ("name", "hub", "finetune.start", "trainer.steps", "trainer.precision", "trainer.cuda_graphs")

_KEYS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        ConfigError: when there is no such file, or it holds anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no checkpoint {path}")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of zip archives, of pickles, of tensors
        # The message of torch is not repeated, because it says how to switch the protection off.
        detail = f": {error}" if isinstance(error, _NotPlainError) else ""
        raise ConfigError(f"{path} is not a checkpoint: {type(error).__name__}{detail}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content


def check_checkpoint(path: str | Path) -> dict[str, Any]:
    """Check the content of a checkpoint before a run resumes from it.

    Returns:
        The content.

    Raises:
        ConfigError: when there is no such file, it holds anything but tensors and plain values, or lacks a key.
    """
    content = read_checkpoint(path)
    missing = [name for name in _KEYS if name not in content]
    if missing:
        raise ConfigError(f"{path} is not a checkpoint of a training run: it lacks {', '.join(missing)}")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ConfigError(f"{path} is not a checkpoint of a training run: its state_dict are not tensors by name")
    if type(content["global_step"]) is not int or content["global_step"] < 0:
        raise ConfigError(f"{path} is not a checkpoint of a training run: its global_step is not a number of steps")
    return content


class _NotPlainError(ValueError):
    """The file is not an archive as torch writes them."""


def _check_archive(path: Path) -> None:
    with open_regular(path) as file:
        if file.read(4) != b"PK\x03\x04":
            raise _NotPlainError("it is not an archive of torch.save")
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _NotPlainError("its members are compressed")
    if sum(member.file_size for member in members) > size:
        raise _NotPlainError("its members overlap")


# --- the stamp of a run ----------------------------------------------------------------------------------------------


def stamp_of(recipe: Recipe, bars: Sequence[str], start: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """Identity of a training run: plain values by name.

    Args:
        recipe: Its recipe. The content of the bars counts, and their paths do not.
        bars: Content hash of the bars of each market.
        start: Weights of the start; ``None`` for random ones.
    """
    settings = dict(_flat(recipe.model_dump(mode="json", exclude={"data": {"__all__": {"path"}}}), ()))
    kept = {
        name: value
        for name, value in settings.items()
        if not any(name == free or name.startswith(f"{free}.") for free in _MAY_CHANGE)
    }
    hashes = {f"{_BARS}{number}": value for number, value in enumerate(bars)}
    return kept | hashes | {"weights of the start": None if start is None else _hash(start)}


def _hash(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode() + content)
    return digest.hexdigest()


def _flat(value: object, location: tuple[object, ...]) -> Iterator[tuple[str, object]]:
    """Settings by the keys that lead to them; a list of plain values is one setting."""
    if isinstance(value, Mapping):
        inside: list[tuple[object, object]] = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        inside = list(enumerate(value))
    else:
        yield place(location), value
        return
    for key, item in inside:
        yield from _flat(item, (*location, key))


class RunStamp(Callback):
    """Writes the stamp of the training run into every checkpoint, and compares it.

    Attributes:
        stamp: See :func:`stamp_of`; set it before the training starts.
        is_under_way: Whether training has begun; then the checkpoint has been restored.
    """

    def __init__(self) -> None:
        self.stamp: dict[str, Any] = {}
        self.is_under_way = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that the checkpoint has been restored."""
        self.is_under_way = True

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the stamp."""
        checkpoint[_STAMP] = self.stamp

    def check(self, path: Path, content: Mapping[str, Any], *, steps: int) -> None:
        """Check that a checkpoint belongs to this training run and does not exceed its steps.

        Args:
            path: File of the checkpoint, for errors.
            content: Its content.
            steps: Steps of the run.

        Raises:
            ConfigError: naming every setting that differs, old and new.
        """
        old = content.get(_STAMP)
        if not isinstance(old, dict):
            raise ConfigError(
                f"{path} does not contain the recipe of its training, so it cannot be resumed: take a checkpoint "
                "that lem train has written, or start anew"
            )
        names = [*self.stamp, *(name for name in old if name not in self.stamp)]
        changes = [
            f"{self._shown(name)} {_setting(old, name)} -> {_setting(self.stamp, name)}"
            for name in names
            if name not in old or name not in self.stamp or old[name] != self.stamp[name]
        ]
        if changes:
            more = [f"and {len(changes) - _CHANGES_SHOWN} more"] if len(changes) > _CHANGES_SHOWN else []
            raise ConfigError(
                f"{path} was trained with other settings, and a resumed run keeps its recipe and its bars: "
                f"{'; '.join([*changes[:_CHANGES_SHOWN], *more])}. Undo the change, or start anew with --overwrite "
                "(overwrite=True)"
            )
        if not content["optimizer_states"]:
            raise ConfigError(f"{path} lacks the state of the optimiser, so it cannot be resumed: start anew")
        if content["global_step"] > steps:
            raise ConfigError(
                f"{path} has taken {content['global_step']:,} steps, more than trainer.steps ({steps:,}): raise it"
            )

    def _shown(self, name: str) -> str:
        """The name of a setting as in the recipe: a single market has no number."""
        if name not in self.stamp:  # it comes from the file
            return place([name])
        if f"{_BARS}1" in self.stamp:
            return name
        return name.removesuffix(".0") if name.startswith(_BARS) else without_number(name)


def _setting(stamp: Mapping[str, Any], name: str) -> str:
    return shown(stamp[name]) if name in stamp else "(not set)"


class MovableCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` that resumes in its present folder, which may have been moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with the same files in this folder."""
        folder = Path(str(self.dirpath))

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        paths = {
            key: here(state_dict[key])
            for key in ("best_model_path", "kth_best_model_path", "last_model_path")
            if key in state_dict
        }
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"dirpath": self.dirpath, "best_k_models": kept})
