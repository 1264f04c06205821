"""The folder of a training run: its files, and the checks of them.

    checkpoints/      last.ckpt and best.ckpt, during the training and after it
    logs/             CSV and TensorBoard
    config.json, model.safetensors, then run.json and, for a fine-tuning, finetune.json: after the training

The two files of facts, run.json and finetune.json, describe the model beside them. So the old facts are removed before
the old model, and the new facts are written after the new model. If the process ends at any point, no facts lie beside
another model.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lem_models.errors import ConfigError
from lem_models.hub.names import CONFIG_NAME, WEIGHTS_NAME
from lem_models.modeling.model import LEMModel

__all__ = ["FINETUNE_FILE", "RUN_FILE", "RunFolder"]

RUN_FILE = "run.json"
"""Recipe and data of the training."""
FINETUNE_FILE = "finetune.json"
"""Results of the fine-tuning."""

_CHECKPOINTS = "checkpoints"
_LOGS = "logs"
_LATEST = "auto"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a training run.

    Attributes:
        path: The folder; it need not exist.
    """

    path: Path

    @classmethod
    def of(cls, resume: str | Path) -> RunFolder | None:
        """The folder of the run that ``resume`` names; ``None`` if it names no folder (``"auto"``, another file)."""
        given = Path(resume)
        if str(resume) == _LATEST:
            return None
        if given.is_dir():
            return cls(given)
        return cls(given.parent.parent) if given.absolute().parent.name == _CHECKPOINTS else None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / _CHECKPOINTS

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.path / _LOGS

    @property
    def pushed(self) -> Path:
        """Folder of the model that a run pushes to the Hub."""
        return self.checkpoints / "model"

    @property
    def last(self) -> Path:
        """The checkpoint to resume."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation utility."""
        return self.checkpoints / "best.ckpt"

    def unused_log(self, name: str) -> str:
        """The name, or the first of name-2, name-3, ... without a log in this folder."""
        names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
        return next(candidate for candidate in names if not (self.logs / candidate).exists())

    def check_best(self) -> None:
        """Check that the best checkpoint so far is there.

        Raises:
            ConfigError: when it is not.
        """
        if not self.best.is_file():
            raise ConfigError(
                f"there is no {self.best}, the best checkpoint so far: copy it there, or start anew with --overwrite "
                "(overwrite=True)"
            )

    def check_free(self) -> None:
        """Check that the folder holds no run and no model.

        Raises:
            ConfigError: when it does.
        """
        files = [self.path / name for name in (CONFIG_NAME, WEIGHTS_NAME, RUN_FILE, FINETUNE_FILE)]
        held = [path for path in files if path.exists()] + sorted(self.checkpoints.glob("*.ckpt"))
        if held:
            raise ConfigError(
                f"{self.path} already holds a run ({held[0].relative_to(self.path)}): resume it (--resume auto, "
                f"resume='auto'), replace it (--overwrite, overwrite=True), or name another folder"
            )

    def check_not_of(self, start: LEMModel) -> None:
        """Check that the folder is not that of the model to start from.

        Raises:
            ConfigError: when it is.
        """
        if start.source is not None and start.source.resolve() == self.path.resolve():
            raise ConfigError(
                f"out ({self.path}) is the folder of the start, {start.name}, which must not change: name another one"
            )

    def checkpoint(self, resume: str | Path) -> Path:
        """The checkpoint of this run that ``resume`` names.

        Args:
            resume: A checkpoint of this run; ``"auto"`` or the folder itself for its last one.

        Raises:
            ConfigError: when there is none, or it lies in another folder, which holds the best checkpoint so far.
        """
        latest = str(resume) == _LATEST or Path(resume).is_dir()
        named = self if str(resume) == _LATEST else self.of(resume)
        path = (named or self).last if latest else Path(resume)
        if not path.is_file():
            raise ConfigError(f"there is no checkpoint {path} to resume: leave --resume (resume=) out to start anew")
        if named is None or named.path.resolve() != self.path.resolve():
            cure = "copy the whole folder of its run" if named is None else f"pass --out {named.path} (out=)"
            raise ConfigError(
                f"{path} is not a checkpoint of the run in {self.path}, so its best one so far is missing: {cure}"
            )
        return path

    def clear(self) -> None:
        """Remove the files of an earlier run, first its facts; cards and other files stay."""
        self.drop_facts()
        for folder in (self.path, self.pushed):
            for name in (WEIGHTS_NAME, CONFIG_NAME):
                (folder / name).unlink(missing_ok=True)
        for checkpoint in self.checkpoints.glob("*.ckpt"):
            checkpoint.unlink()
        for log in (*self.logs.glob("csv*"), *self.logs.glob("tb*")):
            shutil.rmtree(log, ignore_errors=True)

    def drop_facts(self) -> None:
        """Remove the facts about the model in the folder."""
        for name in (FINETUNE_FILE, RUN_FILE):
            (self.path / name).unlink(missing_ok=True)
