"""The Large Execution Model: backbone and head as one policy that loads, trains, saves and publishes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.objective import utility
from lem_models.execution.policy import Decision, ExecutionState, OrderBatch, Policy
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.modeling.backbone import LEMBackbone
from lem_models.modeling.config import MAX_WEIGHTS, ConfigFile, LEMConfig
from lem_models.modeling.heads import build_head
from lem_models.modeling.transfer import HeadReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lem_models.features.market import Market
    from lem_models.markets.bars import Bars
    from lem_models.modeling.stream import BackboneStream
    from lem_models.training.batches import TrainingBatch
    from lem_models.training.recipe import OptimizerConfig

__all__ = ["LEMModel"]

_SEQUENCES_PER_PASS = 256
_TRAINED = "head_is_trained"  # key in a checkpoint


class LEMModel(L.LightningModule, Policy):
    """A Large Execution Model: a policy (``execute(model, bars, orders)``) and a LightningModule.

    Args:
        config: Architecture; default settings if None. The weights are random: train the model or use
            :meth:`from_pretrained`. Until then it refuses to predict.
        optimizer: Settings of the optimiser; its defaults if None. Only training reads them.

    Attributes:
        is_trained: Whether the head has learnt: weights were loaded, or an optimiser has taken a step with gradients of
            the head. A fit that takes none leaves it untrained.

    Example:
        >>> model = LEMModel.from_pretrained("lem-crypto-hourly")
        >>> model.horizon, model.lookback
        (24, 256)
    """

    def __init__(self, config: LEMConfig | None = None, *, optimizer: OptimizerConfig | None = None) -> None:
        from lem_models.features.causal import FEATURES, SIGNED

        super().__init__()
        self.config = config or LEMConfig()
        self.optimizer_config = optimizer
        self.is_trained = False
        self.name = "untrained"
        self.source: Path | None = None  # folder that it was loaded from
        inputs = len(self.config.features)
        self.backbone = LEMBackbone(self.config)
        self.head = build_head(
            self.config.head, self.config.hidden_size + 2 * inputs, self.config.horizon, self.config.head_config
        )
        self._columns = [FEATURES.index(name) for name in self.config.features]
        signs = [-1.0 if SIGNED[name] else 1.0 for name in self.config.features]
        self.register_buffer("_mirror", torch.tensor(signs), persistent=False)

    # -- policy ------------------------------------------------------------------------------------------------------

    @property
    def lookback(self) -> int:  # type: ignore[override]
        """Bars of gapless history before an order."""
        return self.config.lookback

    @property
    def horizon(self) -> int:  # type: ignore[override]
        """Longest order in periods."""
        return self.config.horizon

    @property
    def risk_aversion(self) -> float:  # type: ignore[override]
        """Default risk aversion of orders that name none."""
        return self.config.risk_aversion

    @property
    def fixed_risk_aversion(self) -> float:  # type: ignore[override]
        """The same for orders of a fixed duration."""
        return self.config.fixed_risk_aversion

    @property
    def frequencies(self) -> tuple[str, ...]:  # type: ignore[override]
        """Lengths of the bars that the weights were trained on; empty where they are not recorded."""
        return self.config.frequencies

    def contexts(self, features: Tensor) -> Tensor:
        """Context per bar: the backbone's, and the features of the bar and of the one before.

        Args:
            features: [batch, time, features], already turned to the order's side (:meth:`oriented`).

        Returns:
            [batch, time, hidden + 2 * features].
        """
        previous = torch.cat([features[:, :1], features[:, :-1]], 1)
        return torch.cat([self.backbone(features), features, previous], -1)

    def oriented(self, features: Tensor, side: Tensor) -> Tensor:
        """Features [batch, time, features] as an order of ``side`` [batch] sees them: a sell (-1) sees the mirror."""
        mirror: Tensor = self._mirror  # type: ignore[assignment]
        return torch.where(side[:, None, None] > 0, features, features * mirror)

    @torch.no_grad()
    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Contexts of bars, [rows, width]; see :meth:`Policy.encode`.

        The backbone runs over blocks of at most ``config.block`` bars cut at fixed times, each after ``config.warmup``
        bars, so a context depends on at most ``lookback`` bars and not on what else was loaded.

        Raises:
            UntrainedHeadError: when no weights were loaded or trained.
        """
        self._require_trained()
        config = self.config
        rows, side = np.asarray(rows, dtype=np.int64), np.asarray(side, dtype=np.int64)
        phase = rows - market.block_starts_at(config.block, rows)
        blocks, which = np.unique(np.stack([rows - phase, side]), axis=1, return_inverse=True)
        like = self.backbone.attention.output.weight
        contexts = self.head.project(like.new_zeros(0, self.head.context_size))
        contexts = contexts.new_empty(len(rows), contexts.shape[-1], device="cpu")
        order = np.argsort(which.ravel(), kind="stable")
        ends = np.searchsorted(
            which.ravel()[order], np.arange(0, blocks.shape[1] + _SEQUENCES_PER_PASS, _SEQUENCES_PER_PASS)
        )
        for part in range(0, blocks.shape[1], _SEQUENCES_PER_PASS):
            first, sides = blocks[:, part : part + _SEQUENCES_PER_PASS]
            values = market.feature_windows(first - config.warmup, config.warmup + config.block)[:, :, self._columns]
            features = self.oriented(torch.from_numpy(values).to(like), torch.from_numpy(sides).to(like.device))
            result = self.head.project(self.contexts(features)).cpu()
            mine = order[ends[part // _SEQUENCES_PER_PASS] : ends[part // _SEQUENCES_PER_PASS + 1]]
            contexts[mine] = result[which.ravel()[mine] - part, config.warmup + phase[mine]]
        return contexts

    def stream(self, history: Bars, side: int) -> BackboneStream | None:
        """Contexts bar after bar; see :meth:`Policy.stream`.

        ``None`` for encoders other than TKAN, and where a subclass has its own way to get there.
        """
        from lem_models.modeling.stream import BackboneStream

        self._require_trained()
        if self.config.encoder != "tkan":
            return None
        for name in ("contexts", "oriented", "encode", "decide"):
            if getattr(getattr(self, name), "__func__", None) is not getattr(LEMModel, name):
                return None
        return BackboneStream(self, history, side)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period; see :meth:`Policy.decide`."""
        if context is None:
            raise ConfigError("a Large Execution Model decides from a context; use execute() or encode() first")
        return self.head.decide(context, orders, state)

    def _require_trained(self) -> None:
        if not self.is_trained:
            raise UntrainedHeadError(
                f"the {self.config.head!r} head has random weights: train the model, or load one with from_pretrained()"
            )

    # -- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Minus the mean of the head's objective over a batch of stretches and orders, plus its auxiliary loss."""
        contexts = self._order_contexts(batch)
        paths = simulate(self, batch.orders, batch.window, contexts)
        value = self.head.objective(paths, batch.orders, batch.window).mean()
        self.log("train_objective", value, prog_bar=True, sync_dist=True)
        auxiliary = batch.auxiliary_share * self.head.auxiliary_loss(contexts, batch.orders, batch.window)
        self.log("train_auxiliary", auxiliary, sync_dist=True)
        return self._optimizer_settings().auxiliary_weight * auxiliary - value

    def on_validation_epoch_start(self) -> None:
        """Start the sums of the validation metrics."""
        from lem_models.training.metrics import ValidationScore

        # Sums of many orders want float64, which Apple's devices lack.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._score = ValidationScore(self.config.horizon, dtype).to(self.device)

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Utility and improvement as executed (finish above 1/2), in bar volatilities."""
        orders, window = batch.orders, batch.window
        paths = simulate(self, orders, window, self._order_contexts(batch))
        outcome = settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, window)
        x = outcome.improvement[:, 0] / window.volatility
        self._score.update(utility(x, orders.risk_aversion), x, orders.min_periods)

    def on_validation_epoch_end(self) -> None:
        """Log mean utility, and mean and deviation of the improvement, over the orders of all batches and processes."""
        for name, value in self._score.compute().items():
            self.log(name, value, prog_bar=name == "val_utility", sync_dist=True)

    def _order_contexts(self, batch: TrainingBatch) -> Tensor:
        contexts = self.head.project(self.contexts(self.oriented(batch.features, batch.side)))
        periods = torch.arange(batch.window.price.shape[1], device=contexts.device)
        # Orders shorter than the horizon need no context after their maximum: the clamp only keeps the index valid.
        last_closed = (batch.position[:, None] + periods).clamp(max=contexts.shape[1] - 1)
        return contexts[batch.stretch[:, None], last_closed]

    def test_step(self, *_: object) -> None:
        """Refused: a test executes orders, see :meth:`setup`."""
        self.setup("test")

    def predict_step(self, *_: object) -> None:
        """Refused: a prediction is an execution, see :meth:`setup`."""
        self.setup("predict")

    def prepare_data(self) -> None:
        """Refuse stages that this model has not: Lightning asks for data right after this, and would miss those."""
        if self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def setup(self, stage: str) -> None:
        """Refuse stages that this model has not.

        Raises:
            ConfigError: for ``trainer.test`` and ``trainer.predict``: batches of stretches hold no orders of a user.
        """
        if stage in ("test", "predict"):
            raise ConfigError(
                f"trainer.{stage} does not run orders: use execute(model, bars, orders) for decisions and slippage, "
                "run_benchmark or `lem benchmark` for a test against baselines"
            )

    def on_fit_start(self) -> None:
        """Leave the evaluation mode that a loaded model is in; parts of a model that trains may stay in it."""
        if not self.training:
            self.train()

    def on_train_start(self) -> None:
        """Watch the optimisers."""
        for optimizer in self.trainer.optimizers:
            optimizer.register_step_post_hook(self._note_step)

    def _note_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """An optimiser has taken a step: a scaler that skips one, or an unfinished accumulation, never gets here."""
        if self.is_trained:
            return
        ours = {id(weight) for weight in self.head.parameters()}
        gradients = [
            weight.grad
            for group in optimizer.param_groups
            for weight in group["params"]
            if id(weight) in ours and weight.grad is not None
        ]
        self.is_trained = bool(gradients) and all(bool(torch.isfinite(gradient).all()) for gradient in gradients)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep in a checkpoint whether its head has learnt."""
        checkpoint[_TRAINED] = self.is_trained

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The head has learnt what that of the checkpoint has."""
        self.is_trained = bool(checkpoint.get(_TRAINED, checkpoint.get("global_step", 0) > 0))

    def on_fit_end(self) -> None:
        """A fitted model predicts without dropout."""
        self.eval()

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """AdamW, linear warm-up, cosine decay to a hundredth over the steps of the trainer, if it has an end."""
        steps = self.trainer.estimated_stepping_batches
        return self._optimizer_settings().build(self.parameters(), int(steps) if 0 < steps < math.inf else None)

    def _optimizer_settings(self) -> OptimizerConfig:
        from lem_models.training.recipe import OptimizerConfig

        return self.optimizer_config or OptimizerConfig()

    # -- another horizon, another head -----------------------------------------------------------------------------

    def with_horizon(self, horizon: int) -> LEMModel:
        """The same model for orders of up to ``horizon`` periods; this model stays as it is.

        Up to this model's horizon decisions stay what they are. Beyond it the head's forecasts go on as for its last
        period, which nothing has trained: fine-tune before use.

        Raises:
            ConfigError: when the head's weights cannot be cut or continued, or the horizon is out of range.
        """
        if horizon == self.horizon:
            return self
        names = self.head.per_period
        if names is None:
            raise ConfigError(f"the {self.config.head!r} head has a fixed horizon of {self.horizon} periods")
        model = LEMModel(
            LEMConfig(**(self.config.model_dump() | {"horizon": horizon})), optimizer=self.optimizer_config
        )
        rows = torch.arange(horizon).clamp(max=self.horizon - 1)
        model.load_state_dict(
            {
                key: value[rows] if key.removeprefix("head.") in names else value
                for key, value in self.state_dict().items()
            },
            strict=True,
        )
        model.is_trained, model.name = self.is_trained, self.name
        return model.eval()

    def with_head_settings(self, **settings: Any) -> LEMModel:
        """The same model with settings of its head that add weights and, until these are trained, change no decision.

        Args:
            **settings: Settings of the head, e.g. ``profile_exponent=True`` of the flexible head.

        Raises:
            ConfigError: when the head refuses the settings, or they change more than what its class calls neutral.
        """
        head_config = self.config.head_config | settings
        if head_config == self.config.head_config:
            return self
        model = LEMModel(
            LEMConfig(**(self.config.model_dump() | {"head_config": head_config})), optimizer=self.optimizer_config
        )
        own, fresh = self.state_dict(), model.state_dict()
        added = {f"head.{name}" for name in self.head.neutral}
        if not fresh.keys() - own.keys() <= added or any(
            name not in fresh or fresh[name].shape != value.shape for name, value in own.items()
        ):
            raise ConfigError(f"{settings} changes what the {self.config.head!r} head has learnt; use with_head")
        model.load_state_dict(fresh | own, strict=True)
        model.is_trained, model.name = self.is_trained, self.name
        return model.eval()

    def with_head(
        self, name: str, head_config: dict[str, Any] | None = None, *, seed: int = 0
    ) -> tuple[LEMModel, HeadReport]:
        """A new model with this backbone's weights and a fresh head; this model stays as it is.

        The new model refuses to predict and to be saved until it is trained: ``train(recipe, start=model, ...)``.

        Args:
            name: Registered name of the head (:func:`~lem_models.modeling.heads.list_heads`).
            head_config: Settings of the head; its defaults if None.
            seed: Seed of its random weights.

        Returns:
            The model, and what became of every tensor.

        Raises:
            ConfigError: when no head has the name, or the head refuses the settings.

        Example:
            >>> model = LEMModel.from_pretrained("lem-crypto-hourly")
            >>> other, report = model.with_head("flexible", {"hidden_size": 16, "layers": 1})
            >>> other.is_trained, sorted(report.fresh)[:2]
            (False, ['head.from_context.weight', 'head.from_path.bias'])
        """
        settings = self.config.model_dump() | {"head": name, "head_config": head_config or {}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LEMModel(LEMConfig(**settings), optimizer=self.optimizer_config)
        model.backbone.load_state_dict(self.backbone.state_dict(), strict=True)
        weight = self.backbone.attention.output.weight
        model.to(device=weight.device, dtype=weight.dtype).train(self.training)
        return model, HeadReport.between(name, self.state_dict(), model.state_dict())

    # -- storage -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> LEMModel:
        """Load a trained model.

        Args:
            name: A bundled name (``"lem-crypto-hourly"``, see ``list_models()``), a folder with ``config.json`` and
                ``model.safetensors``, or a Hub id (``"org/name"``).
            revision: Branch, tag or commit of a Hub id.
            token: Hub token.
            cache_dir: Where Hub files are kept.
            local_files_only: Never ask the network.

        Raises:
            UnknownNameError: when nothing has this name; names the closest.
            ConfigError: when the configuration is refused.
            WeightsError: when the weights are damaged or do not fit the configuration.
        """
        from lem_models.hub.models.load import check_links, read_pair, read_weights
        from lem_models.hub.models.resolve import resolve

        def read(file: ConfigFile, stored: BinaryIO) -> tuple[LEMConfig, dict[str, Tensor]]:
            # The file is checked against shapes that take no memory before anything of its size is allocated.
            with torch.device("meta"):
                expected = {key: value for key, value in cls(file.config).state_dict().items()}
            weights_in_all = sum(tensor.numel() for tensor in expected.values())
            if weights_in_all > MAX_WEIGHTS:
                raise ConfigError(
                    f"the configuration asks for {weights_in_all:,} weights; at most {MAX_WEIGHTS:,} are loaded"
                )
            return file.config, read_weights(stored, expected, file.weights_sha256)

        folder = resolve(name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
        check_links(folder)
        config, weights = read_pair(folder, read)
        with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten leave no trace
            model = cls(config)
        model.load_state_dict(weights, strict=True)
        model.is_trained = True
        model.name = Path(name).name
        model.source = folder
        return model.eval()

    @classmethod
    def load_from_checkpoint(cls, *args: object, **kwargs: object) -> LEMModel:
        """Refused: a checkpoint of Lightning is a pickle. A model is loaded with :meth:`from_pretrained`.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a checkpoint is for going on with its training (lem train --resume FILE); the model that came out of the "
            "training lies beside it, LEMModel.from_pretrained(FOLDER) loads it"
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, both or none of them; other files of the folder stay.

        Whoever reads the folder meanwhile, or after this process was killed, gets the model before or this one.

        Raises:
            UntrainedHeadError: when the model is untrained.
            ConfigError: when the folder cannot be written, e.g. because the disk is full.
        """
        from lem_models.hub.models.save import write_model

        self._require_trained()
        return write_model(Path(folder), self.config, self.state_dict())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload model",
        card: str | Path | None = None,
        replace_card: bool = False,
        licence: str | None = None,
        eval_data: Mapping[str, str] | None = None,
    ) -> str:
        """Publish the model to the Hugging Face Hub: ``config.json``, ``model.safetensors`` and a card, in one commit.

        The card is that of the folder which the model was loaded from, byte for byte, as long as it still is that
        model; otherwise a plain one is made. A card that is in the repository already is left alone.

        Args:
            repo_id: ``org/name``; the repository is made when it is not there.
            private: Whether it is private then; ``None`` for the account's default.
            token: Hub token; default the client's (``HF_TOKEN`` or ``hf auth login``).
            branch: Branch instead of the main one; made when it is not there.
            revision: The same, by the name that :meth:`from_pretrained` has for it.
            create_pr: Open a pull request instead of committing.
            commit_message: Message of the commit.
            card: File of the card to send.
            replace_card: Whether it replaces another card that is in the repository.
            licence: Licence for a plain card, by the Hub's identifiers, e.g. ``"apache-2.0"``.
            eval_data: Benchmark data set on the Hub (``"org/data"``, or ``"org/data@commit"``) by evaluation market;
                what ``metrics.json`` of the model's folder has of that market is sent as ``.eval_results``.

        Returns:
            URL of the commit, or of the pull request.

        Raises:
            UnknownNameError: when the name has not the form ``org/name``.
            UntrainedHeadError: when the model is untrained.
            ConfigError: when the card cannot be published, two branches are named, or the model was not measured on a
                market of ``eval_data``.
            HubError: when the Hub refuses or cannot be reached.
        """
        from lem_models.hub.models.push import Destination, push_model

        if branch is not None and revision not in (None, branch):
            raise ConfigError(f"branch={branch!r} and revision={revision!r} mean the same: pass one of them")
        to = Destination(repo_id, branch or revision, private, create_pr, replace_card, commit_message, token)
        return push_model(self, to, card=card, licence=licence, eval_data=eval_data)
