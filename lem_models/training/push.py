"""Push the best checkpoint of a training run to the Hub whenever it improves, as a loadable model.

A failed push does not stop the training. The model is written to the folder of the run before anything is sent. A
warning gives the reason, and the next validation and the end of the training try again.
"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lem_models.errors import ConfigError
from lem_models.hub.client import without_token
from lem_models.hub.models.contents import Contents, contents_of
from lem_models.hub.models.push import publish_contents
from lem_models.hub.names import CARD_NAME
from lem_models.hub.settings import ModelUpload
from lem_models.modeling.model import LEMModel
from lem_models.training.adapters import merged
from lem_models.training.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from typing_extensions import Self

    from lem_models.training.recipe import HubConfig

__all__ = ["PushToHub"]

_LAST_ATTEMPTS = 3
_LAST_WAIT = 5.0  # seconds, doubled with each attempt


class PushToHub(Checkpoint):
    """Pushes the best checkpoint as a model: configuration, weights and card in one commit.

    Only the first process pushes. The token is neither a hyperparameter nor part of a checkpoint. The class is a
    ``Checkpoint`` so that Lightning runs it after the ``ModelCheckpoint`` before it in the list.

    Args:
        repo_id: ``org/name``; the repository is created if it does not exist.
        folder: Folder of the model on this machine, which is written before anything is sent; default ``model`` beside
            the checkpoints. A ``README.md`` beside it, or in it, is the card; otherwise a plain card is made.
        branch: Branch to push to, created if it does not exist; ``None`` for the main branch.
        private: Whether the repository is private. If true, an existing public repository is refused.
        every: Fewest validations between two pushes; the end of the training pushes what is left.
        token: Hub token; default the client's.
        checkpoint: The callback whose best checkpoint is pushed; default the trainer's first ``ModelCheckpoint``.
        to_beat: Score that a checkpoint must beat to be pushed.
        patience: Seconds that training waits for a push; then both continue in parallel.

    Attributes:
        url: URL of the latest commit; ``None`` before there is one.

    Raises:
        UnknownNameError: when the repository's name does not have the form ``org/name``.
        ConfigError: when ``every`` is below one.

    Example:
        >>> PushToHub("desk/lem-btc", every=2).url is None
        True
    """

    def __init__(
        self,
        repo_id: str,
        *,
        folder: str | Path | None = None,
        branch: str | None = "training",
        private: bool | None = True,
        every: int = 1,
        token: str | bool | None = None,
        checkpoint: ModelCheckpoint | None = None,
        to_beat: float | None = None,
        patience: float = 60.0,
    ) -> None:
        if every < 1:
            raise ConfigError(f"every must be at least 1; got {every}")
        self._to = ModelUpload(repo_id=repo_id, branch=branch, private=private, token=token)
        self._folder = None if folder is None else Path(folder)
        self._every = every
        self._checkpoint = checkpoint
        self._patience = patience
        self.to_beat = to_beat
        self.url: str | None = None
        self._pushed: float | None = None  # score of the last push
        self._validations = every  # since the last push
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, config: HubConfig, *, folder: Path, checkpoint: ModelCheckpoint) -> Self:
        """The callback for the section ``hub`` of a recipe."""
        return cls(
            config.repo_id,
            folder=folder,
            branch=config.branch,
            private=config.private,
            every=config.every,
            checkpoint=checkpoint,
        )

    # -- when ---------------------------------------------------------------------------------------------------------

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Push a better checkpoint that has just been written."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._validations += 1
            self._consider(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Push a better checkpoint that was written at the end of an epoch."""
        self._consider(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Push an unpublished checkpoint, in a few attempts; an attempt that hangs is the last."""
        wait = _LAST_WAIT
        for attempt in range(_LAST_ATTEMPTS):
            self._validations = self._every
            if not self._consider(trainer, pl_module) or (self._thread is not None and self._thread.is_alive()):
                return
            if attempt < _LAST_ATTEMPTS - 1:
                time.sleep(wait)
                wait *= 2

    def state_dict(self) -> dict[str, Any]:
        """Score and URL of the last push, for a resumed run."""
        return {"pushed": self._pushed, "url": self.url, "to": self._place()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the last push, unless the repository or the branch has changed."""
        if state_dict["to"] == self._place():
            self._pushed, self.url = state_dict["pushed"], state_dict["url"]

    def _place(self) -> list[str | None]:
        return [self._to.repo_id, self._to.branch]

    # -- what ---------------------------------------------------------------------------------------------------------

    def _consider(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Push the best checkpoint if it is time; return whether a push is still due. Raises nothing."""
        if not trainer.is_global_zero:
            return False
        try:
            best = self._checkpoint or trainer.checkpoint_callback
            if not isinstance(best, ModelCheckpoint) or best.best_model_score is None or not best.best_model_path:
                return False
            score = float(best.best_model_score)
            if score == self._pushed or not self._beats(score, best.mode):
                return False
            if self._validations < self._every or not self._is_free():
                return True
            self._validations = 0
            contents = self._save(Path(best.best_model_path), pl_module)
            message = f"Step {trainer.global_step}: {best.monitor or 'score'} {score:.6g}"
            self._thread = threading.Thread(target=self._send, args=(contents, message, score), daemon=True)
            self._thread.start()
            self._is_free()
            return score != self._pushed
        except Exception as error:  # no failure of a push may end the training
            self._warn(error)
            return True

    def _beats(self, score: float, mode: str) -> bool:
        if not math.isfinite(score) or self.to_beat is None:
            return math.isfinite(score)
        return score > self.to_beat if mode == "max" else score < self.to_beat

    def _is_free(self) -> bool:
        """Wait for a running push up to the patience; return whether none is running."""
        if self._thread is not None:
            self._thread.join(self._patience)
            if self._thread.is_alive():
                rank_zero_warn(
                    f"the push to {self._to.repo_id!r} takes longer than {self._patience:g} seconds; training "
                    "and push continue in parallel"
                )
                return False
        return True

    def _save(self, path: Path, pl_module: L.LightningModule) -> Contents:
        """Write the checkpoint as a model on this machine, and collect the files to send."""
        if not isinstance(pl_module, LEMModel):
            raise ConfigError(f"PushToHub pushes a LEMModel, not a {type(pl_module).__name__}")
        checkpoint = read_checkpoint(path)
        with torch.random.fork_rng(devices=[]):
            model = LEMModel(pl_module.config)
        model.load_state_dict(merged(checkpoint["state_dict"]), strict=True)
        model.on_load_checkpoint(checkpoint)
        folder = self._folder if self._folder is not None else path.parent / "model"
        model.save_pretrained(folder)
        beside = folder.parent / CARD_NAME
        return contents_of(folder, self._to.model_copy(update={"card": beside}) if beside.is_file() else self._to)

    def _send(self, contents: Contents, message: str, score: float) -> None:
        try:
            self.url = publish_contents(contents, self._to.model_copy(update={"commit_message": message})).url
            self._pushed = score
            rank_zero_info(f"pushed to {self.url}")
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        rank_zero_warn(
            f"nothing was pushed to {self._to.repo_id!r}, training continues and the model on this machine is "
            f"safe: {without_token(str(error), self._to.token)}"
        )
