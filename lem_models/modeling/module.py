"""The network and how it trains: backbone and head as a Lightning module that decides period by period."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.execution.objective import CLIP, imitation_loss, scaled, utility
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, OrderContexts, Paths
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.features.causal import SIGNED
from lem_models.modeling.backbone import LEMBackbone, StepWeights
from lem_models.modeling.batch import TrainingBatch
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import LiveHead, build_head
from lem_models.modeling.kernels.library import kernels
from lem_models.modeling.late_lightning import LateLightningModule
from lem_models.modeling.optimizer import OptimizerConfig

__all__ = ["LEMModule", "LiveWeights"]

_TRAINED = "head_is_trained"  # key in a checkpoint


class LiveWeights(NamedTuple):
    """Weights made ready for live orders.

    Attributes:
        backbone: For steps of the backbone.
        head: The head's projection and decisions.
    """

    backbone: StepWeights
    head: LiveHead


class LEMModule(LateLightningModule, Policy):
    """Backbone and head, trained by randomised stopping.

    Args:
        config: Architecture; default settings if None. The weights are random.
        optimizer: Settings of the optimiser; its defaults if None. Only training reads them.

    Attributes:
        is_trained: Whether the head is trained: weights were loaded, or an optimiser has taken a step with finite
            gradients of the head. A fit without such a step leaves it untrained.
    """

    looks_ahead = False  # named here, or the question would be put to Lightning, which takes seconds to import

    def __init__(self, config: LEMConfig | None = None, *, optimizer: OptimizerConfig | None = None) -> None:
        super().__init__()
        self.config = config or LEMConfig()
        self.optimizer_config = optimizer or OptimizerConfig()
        self.is_trained = False
        inputs = len(self.config.features)
        self.backbone = LEMBackbone(self.config)
        self.head = build_head(
            self.config.head, self.config.hidden_size + 2 * inputs, self.config.horizon, self.config.head_config
        )
        signs = [-1.0 if SIGNED[name] else 1.0 for name in self.config.features]
        self.register_buffer("_mirror", torch.tensor(signs), persistent=False)
        self._live: tuple[Tensor, tuple[object, ...], LiveWeights] | None = None

    # -- decisions ---------------------------------------------------------------------------------------------------

    def contexts(self, features: Tensor) -> Tensor:
        """Context per bar: the backbone's, and the features of the bar and of the one before.

        Args:
            features: [batch, time, features], already turned to the order's side (:meth:`oriented`).

        Returns:
            [batch, time, hidden + 2 * features].
        """
        previous = torch.cat([features[:, :1], features[:, :-1]], 1)
        return torch.cat([self.backbone(features), features, previous], -1)

    def contexts_of(self, features: Tensor, sequences: Tensor, rows: Tensor) -> Tensor:
        """:meth:`contexts` of some bars of sequences that share bars.

        Args:
            features: [bars, features], already turned to the orders' side.
            sequences: Bars of each sequence, int64 [batch, time].
            rows: Bars to answer for, int64 [rows] in order, of the ``batch * time`` bars.

        Returns:
            [rows, hidden + 2 * features].
        """
        if getattr(self.contexts, "__func__", None) is not LEMModule.contexts or type(self.backbone) is not LEMBackbone:
            return self.contexts(features[sequences]).flatten(0, 1)[rows]
        bars = sequences.flatten()
        before = torch.where(rows % sequences.shape[1] > 0, rows - 1, rows)
        return torch.cat([self.backbone(features, sequences, rows), features[bars[rows]], features[bars[before]]], -1)

    def oriented(self, features: Tensor, side: Tensor) -> Tensor:
        """Features [batch, time, features] as an order of ``side`` [batch] sees them: a sell (-1) sees the mirror."""
        mirror: Tensor = self._mirror  # type: ignore[assignment]
        return torch.where(side[:, None, None] > 0, features, features * mirror)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period; see :meth:`Policy.decide`."""
        if context is None:
            raise ConfigError("a Large Execution Model decides from a context; use execute() or encode() first")
        return self.head.decide(context, orders, state)

    def _roll_out(
        self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow, *, to_finish: bool
    ) -> Paths | None:
        """All periods at once, see :meth:`AllocationHead.roll_out`; ``None`` where a subclass decides otherwise."""
        if getattr(self.decide, "__func__", None) is not LEMModule.decide:
            return None
        return self.head.roll_out(contexts, orders, window, to_finish=to_finish)

    @torch.no_grad()
    def live_weights(self) -> LiveWeights:
        """What streams of the model share; made again only when a weight has changed."""
        weights = torch.cat([weight.detach().flatten() for weight in self.parameters()])
        kind = (weights.dtype, weights.device, self.head, kernels(weights.dtype) is not None)
        if self._live is None or self._live[1] != kind or not torch.equal(self._live[0], weights):
            self._live = weights, kind, LiveWeights(self.backbone.step_weights(), self.head.live())
        return self._live[2]

    def order_contexts(self, batch: TrainingBatch) -> OrderContexts:
        """The head's projection of the context of the last closed bar before each period."""
        contexts = self.head.project(self.contexts(self.oriented(batch.features, batch.side)))
        time = contexts.shape[1]
        periods = torch.arange(batch.window.price.shape[1], device=contexts.device)
        # Orders shorter than the horizon need no context after their maximum: the clamp only keeps the index valid.
        last_closed = (batch.position[:, None] + periods).clamp(max=time - 1)
        return OrderContexts(contexts.flatten(0, 1), batch.stretch[:, None] * time + last_closed)

    # -- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Minus the mean of the head's objective over a batch, plus its auxiliary loss and that of the teacher."""
        contexts = self.order_contexts(batch)
        paths = simulate(self, batch.orders, batch.window, contexts)
        value = self.head.objective(paths, batch.orders, batch.window).mean()
        self.log("train_objective", value, prog_bar=True, sync_dist=True)
        auxiliary = batch.auxiliary_share * self.head.auxiliary_loss(contexts, batch.orders, batch.window)
        self.log("train_auxiliary", auxiliary, sync_dist=True)
        loss = self.optimizer_config.auxiliary_weight * auxiliary - value
        if batch.taught is None:
            return loss
        imitation = imitation_loss(paths, batch.orders, batch.taught).mean()
        self.log("train_imitation", imitation, sync_dist=True)
        return loss + self.optimizer_config.teacher_weight * imitation

    def on_validation_epoch_start(self) -> None:
        """Start the sums of the validation metrics."""
        from lem_models.modeling.validation_score import ValidationScore  # torchmetrics takes seconds to import

        # Sums over many orders need float64, which Apple's devices lack.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._score = ValidationScore(self.config.horizon, dtype).to(self.device)

    def validation_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Utility and improvement as executed (finish above 1/2), in the unit of the utility."""
        orders, window = batch.orders, batch.window
        paths = simulate(self, orders, window, self.order_contexts(batch), to_finish=True)
        outcome = settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, window)
        x = outcome.improvement[:, 0] / window.volatility
        clipped = scaled(x, orders.max_periods).clamp(-CLIP, CLIP)
        self._score.update(utility(x, orders.risk_aversion, orders.max_periods), clipped, orders.min_periods)

    def on_validation_epoch_end(self) -> None:
        """Log mean utility, and mean and deviation of the improvement, over the orders of all batches and processes."""
        for name, value in self._score.compute().items():
            self.log(name, value, prog_bar=name == "val_utility", sync_dist=True)

    def test_step(self, *_: object) -> None:
        """Refused: a test executes orders, see :meth:`setup`."""
        self.setup("test")

    def predict_step(self, *_: object) -> None:
        """Refused: a prediction is an execution, see :meth:`setup`."""
        self.setup("predict")

    def prepare_data(self) -> None:
        """Refuse unsupported stages here too: Lightning asks for data before it calls :meth:`setup`."""
        if self.trainer.state.fn is not None:
            self.setup(self.trainer.state.fn.value)

    def setup(self, stage: str) -> None:
        """Refuse unsupported stages.

        Raises:
            ConfigError: for ``trainer.test`` and ``trainer.predict``: training batches hold no orders of a user.
        """
        if stage in ("test", "predict"):
            raise ConfigError(
                f"trainer.{stage} does not run orders: use execute(model, bars, orders) for decisions and slippage, "
                "run_benchmark or `lem benchmark` for a test against baselines"
            )

    def on_fit_start(self) -> None:
        """Leave evaluation mode if the model was loaded; submodules of a training model may stay in it."""
        if not self.training:
            self.train()

    def on_train_start(self) -> None:
        """Note every optimiser step, see :attr:`is_trained`."""
        for optimizer in self.trainer.optimizers:
            optimizer.register_step_post_hook(self._note_step)

    def _note_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Called after an optimiser step; a step that a scaler skips and an unfinished accumulation do not count."""
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
        """Store whether the head is trained."""
        checkpoint[_TRAINED] = self.is_trained

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore whether the head is trained."""
        self.is_trained = bool(checkpoint.get(_TRAINED, checkpoint.get("global_step", 0) > 0))

    def on_fit_end(self) -> None:
        """Switch dropout off for predictions."""
        self.eval()

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """AdamW with linear warm-up; cosine decay to a hundredth if the trainer has a last step."""
        steps = self.trainer.estimated_stepping_batches
        return self.optimizer_config.build(self.parameters(), int(steps) if 0 < steps < math.inf else None)
