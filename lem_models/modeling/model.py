"""The Large Execution Model: a policy that is trained, loaded, saved, published and given another head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.costs import CostModel
from lem_models.features.causal import FEATURES
from lem_models.features.market import Market
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.live import ModelStream
from lem_models.modeling.module import LEMModule
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.modeling.summary import ModelSummary, model_facts, summarise_model
from lem_models.modeling.transfer import HeadReport
from lem_models.notebook import describe, facts_html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lem_models.evaluation.explain.counterfactuals import Counterfactual
    from lem_models.evaluation.explain.explanation import Explanation
    from lem_models.execution.result import ExecutionResult

__all__ = ["LEMModel"]

_SEQUENCES_PER_PASS = 256


class LEMModel(LEMModule):
    """A Large Execution Model: a policy (``execute(model, bars, orders)``) and a LightningModule.

    Args:
        config: Architecture; default settings if None. The weights are random: train the model or use
            :meth:`from_pretrained`. Until then it refuses to predict.
        optimizer: Settings of the optimiser; its defaults if None. Only training reads them.

    Attributes:
        name: Name of the model: the one that it was loaded or trained under.
        source: Folder that it was loaded from; ``None`` if it was not.
        columns: Columns of its features in :data:`~lem_models.features.causal.FEATURES`.

    Example:
        >>> model = LEMModel.from_pretrained("lem-crypto-hourly")
        >>> model.horizon, model.lookback
        (24, 256)
    """

    def __init__(self, config: LEMConfig | None = None, *, optimizer: OptimizerConfig | None = None) -> None:
        super().__init__(config, optimizer=optimizer)
        self.name = "untrained"
        self.source: Path | None = None
        self.columns = [FEATURES.index(name) for name in self.config.features]

    # -- policy ------------------------------------------------------------------------------------------------------

    @property
    def lookback(self) -> int:  # type: ignore[override]
        """Bars of gapless history before an order."""
        return self.config.lookback

    @property
    def sessions(self) -> int:  # type: ignore[override]
        """Sessions before an order that its expected volumes average."""
        return self.config.sessions

    @property
    def benchmarks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Benchmarks of orders that the head knows and the weights were trained on."""
        trained = [benchmark.value for benchmark in self.config.benchmarks]
        return tuple(name for name in self.head.benchmarks if name in trained)

    @property
    def reads_size(self) -> bool:  # type: ignore[override]
        """Whether decisions depend on the size of an order."""
        return self.config.impact is not None and self.head.reads_size

    @property
    def assumed_costs(self) -> CostModel | None:  # type: ignore[override]
        """Impact by which orders with an amount are decided where an execution names no costs."""
        return CostModel(impact=self.config.impact or 0.0) if self.reads_size else None

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
        """Default risk aversion of orders of a fixed duration."""
        return self.config.fixed_risk_aversion

    @property
    def frequencies(self) -> tuple[str, ...]:  # type: ignore[override]
        """Lengths of the bars that the weights were trained on; empty where they are not recorded."""
        return self.config.frequencies

    @torch.no_grad()
    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Contexts of bars, [rows, width]; see :meth:`Policy.encode`.

        The backbone runs over blocks of at most ``config.block`` bars cut at fixed times, each after ``config.warmup``
        bars, so a context depends on at most ``lookback`` bars and not on what else was loaded. It runs as far as the
        last bar asked for in a block.

        Raises:
            UntrainedHeadError: when no weights were loaded or trained.
        """
        self.require_trained()
        config = self.config
        rows, side = np.asarray(rows, dtype=np.int64), np.asarray(side, dtype=np.int64)
        phase = rows - market.block_starts_at(config.block, rows)
        blocks, which = np.unique(np.stack([rows - phase, side]), axis=1, return_inverse=True)
        steps = np.zeros(blocks.shape[1], dtype=np.int64)
        np.maximum.at(steps, which.ravel(), config.warmup + phase + 1)
        # Blocks of the same number of steps go together, in the order of the bars.
        by_steps = np.argsort(steps, kind="stable")
        place = np.argsort(by_steps)[which.ravel()]
        order = np.lexsort((phase, place))
        ends = np.searchsorted(place[order], np.arange(0, len(steps) + _SEQUENCES_PER_PASS, _SEQUENCES_PER_PASS))
        like = self.backbone.attention.output.weight
        contexts = self.head.project(like.new_zeros(0, self.head.context_size))
        contexts = contexts.new_empty(len(rows), contexts.shape[-1], device="cpu")
        for number, part in enumerate(range(0, len(steps), _SEQUENCES_PER_PASS)):
            some = by_steps[part : part + _SEQUENCES_PER_PASS]
            mine = order[ends[number] : ends[number + 1]]
            length = int(steps[some[-1]])
            at = (place[mine] - part) * length + config.warmup + phase[mine]
            result = self._contexts_in(market, blocks[:, some], length, torch.from_numpy(at).to(like.device))
            contexts[mine] = result.cpu()
        return contexts

    def _contexts_in(self, market: Market, blocks: npt.NDArray[np.int64], length: int, rows: Tensor) -> Tensor:
        """Projected contexts of the ``rows`` of blocks [(first bar, side), blocks] of ``length`` bars with warm-up."""
        (first, side), last = blocks, len(market.bars) - 1
        first = first - self.config.warmup
        bars = np.clip(first[:, None] + np.arange(length), 0, last) + (last + 1) * (side[:, None] > 0)
        shared, windows, sequences = np.unique(bars, return_index=True, return_inverse=True)
        values = market.feature_windows(first, length)[:, :, self.columns].reshape(-1, len(self.columns))[windows]
        like = self.backbone.attention.output.weight
        sides = torch.from_numpy(np.where(shared > last, 1, -1)).to(like.device)
        features = self.oriented(torch.from_numpy(values).to(like)[:, None], sides)[:, 0]
        numbers = torch.from_numpy(sequences.reshape(bars.shape)).to(like.device)
        return self.head.project(self.contexts_of(features, numbers, rows))

    def stream(self) -> ModelStream | None:
        """Contexts bar after bar; see :meth:`Policy.stream`.

        ``None`` where a subclass computes contexts in its own way.
        """
        self.require_trained()
        for name in ("contexts", "oriented", "encode"):
            if getattr(getattr(self, name), "__func__", None) is not getattr(LEMModel, name):
                return None
        return ModelStream(self)

    def require_trained(self) -> None:
        """Refuse a model whose weights were neither loaded nor trained.

        Raises:
            UntrainedHeadError: when it is one.
        """
        if not self.is_trained:
            raise UntrainedHeadError(
                f"the {self.config.head!r} head has random weights: train the model, or load one with from_pretrained()"
            )

    # -- what it is, and why it decides so -------------------------------------------------------------------------

    def __repr__(self) -> str:
        """One line; :meth:`summary` has the parts."""
        facts = {
            "head": self.config.head,
            "bars": "/".join(self.config.frequencies) or None,
            "horizon": f"{self.horizon} bars",
            "weights": f"{sum(weight.numel() for weight in self.parameters()):,}",
        }
        return describe("LEMModel", {"name": repr(self.name)} | facts | {"trained": None if self.is_trained else "no"})

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return facts_html(f"LEMModel {self.name}", model_facts(self))

    def summary(self) -> ModelSummary:
        """What the model serves and reads, and its parts with their numbers of weights.

        Example:
            >>> print(LEMModel.from_pretrained("lem-dow-daily").summary())
            LEMModel lem-dow-daily
            ...
        """
        return summarise_model(self, self.name)

    def explain(
        self,
        result: ExecutionResult,
        order: int | str,
        *,
        period: int | None = None,
        counterfactuals: Sequence[Counterfactual] | None = None,
        paths: int = 200,
        seed: int = 0,
        costs: CostModel | None = None,
        cap_ahead: bool = False,
    ) -> Explanation:
        """Explain a decision of this model: what it weighed, what moved it, what would change it, what may come of it.

        Only bars that had closed before the decision are read.

        Args:
            result: A result of this model.
            order: ``order_id`` of the order.
            period: Period that was decided, 0-based. Default: the one in which the model chose to finish early, else
                the one whose fraction differs most from the even pace of what was left.
            counterfactuals: What to change; default: the last bar's volume and prices, the risk aversion, the fills.
            paths: Simulated paths of the bands; 0 for none.
            seed: Seed of the paths.
            costs: Costs of the execution of the result.
            cap_ahead: Whether the execution capped participation ahead, see :func:`~lem_models.execute`.

        Returns:
            The explanation: ``.plot()`` is one picture, ``str()`` one paragraph; a notebook shows both.

        Raises:
            KeyError: No order that ran has this id.
            ConfigError: The period was not decided by the model, the result is of another policy or of other costs, or
                a number of paths is impossible.
            UntrainedHeadError: The model is untrained.
        """
        from lem_models.evaluation.explain.explanation import explain

        return explain(
            self,
            result,
            order,
            period=period,
            counterfactuals=counterfactuals,
            paths=paths,
            seed=seed,
            costs=costs,
            cap_ahead=cap_ahead,
        )

    # -- another horizon, another head -----------------------------------------------------------------------------

    def with_horizon(self, horizon: int) -> LEMModel:
        """This model for orders of up to ``horizon`` periods; this model stays as it is.

        Decisions up to this model's horizon do not change. Beyond it the head repeats the forecast of its last period,
        which is untrained there: fine-tune before use.

        Raises:
            ConfigError: when the head's weights cannot be cut or continued, or the horizon is out of range.
        """
        if horizon == self.horizon:
            return self
        names = self.head.per_period
        if names is None:
            raise ConfigError(f"the {self.config.head!r} head has a fixed horizon of {self.horizon} periods")
        rows = torch.arange(horizon).clamp(max=self.horizon - 1)
        weights = {
            key: value[rows] if key.removeprefix("head.") in names else value
            for key, value in self.state_dict().items()
        }
        return self._derived(self._fresh(horizon=horizon), weights)

    def with_risk_aversion(self, risk_aversion: float) -> LEMModel:
        """This model with another default for flexible orders that name no risk aversion; this model stays as it is.

        Raises:
            ConfigError: when it is negative or above 100.
        """
        if risk_aversion == self.config.risk_aversion:
            return self
        return self._derived(self._fresh(risk_aversion=risk_aversion), self.state_dict())

    def with_head_settings(self, **settings: Any) -> LEMModel:
        """This model with more settings of its head, which add weights but change no decision until trained.

        Args:
            **settings: Settings of the head, e.g. ``profile_exponent=True`` of the flexible head.

        Raises:
            ConfigError: when the head refuses the settings, or they add or change other weights than its class lists
                as neutral.
        """
        head_config = self.config.head_config | settings
        if head_config == self.config.head_config:
            return self
        model = self._fresh(head_config=head_config)
        own, fresh = self.state_dict(), model.state_dict()
        added = {f"head.{name}" for name in self.head.neutral}
        if not fresh.keys() - own.keys() <= added or any(
            name not in fresh or fresh[name].shape != value.shape for name, value in own.items()
        ):
            raise ConfigError(f"{settings} changes what the {self.config.head!r} head has learnt; use with_head")
        return self._derived(model, fresh | own)

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
            The model, and which tensors were kept, dropped and freshly initialised.

        Raises:
            ConfigError: when no head has the name, or the head refuses the settings.

        Example:
            >>> model = LEMModel.from_pretrained("lem-crypto-hourly")
            >>> other, report = model.with_head("flexible", {"hidden_size": 16, "layers": 1})
            >>> other.is_trained, sorted(report.fresh)[:2]
            (False, ['head.from_context.weight', 'head.from_path.bias'])
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._fresh(head=name, head_config=head_config or {})
        model.backbone.load_state_dict(self.backbone.state_dict(), strict=True)
        weight = self.backbone.attention.output.weight
        model.to(device=weight.device, dtype=weight.dtype).train(self.training)
        return model, HeadReport.between(name, self.state_dict(), model.state_dict())

    def _fresh(self, **changes: Any) -> LEMModel:
        """A model with random weights, of this architecture but for some changes."""
        return LEMModel(LEMConfig(**(self.config.model_dump() | changes)), optimizer=self.optimizer_config)

    def _derived(self, model: LEMModel, weights: dict[str, Tensor]) -> LEMModel:
        """``model`` with weights derived from this one's, under this one's name."""
        model.load_state_dict(weights, strict=True)
        model.is_trained, model.name = self.is_trained, self.name
        return model.eval()

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
        from lem_models.hub.models.load import load_model

        return load_model(
            cls, name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )

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

        A reader of the folder gets the old model or this one, also during the save and after this process was killed.

        Raises:
            UntrainedHeadError: when the model is untrained.
            ConfigError: when the folder cannot be written, e.g. because the disk is full.
        """
        from lem_models.hub.models.save import save_model

        return save_model(self, folder)

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
        from lem_models.hub.models import push

        return push.push_model(
            self,
            push.ModelUpload(
                repo_id=repo_id,
                private=private,
                token=token,
                branch=branch,
                revision=revision,
                create_pr=create_pr,
                commit_message=commit_message,
                card=card,
                replace_card=replace_card,
                licence=licence,
                eval_data=eval_data,
            ),
        )
