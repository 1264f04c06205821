"""Policies that follow a script, record their decisions, or are all that the package has."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from lem_models.baselines import list_policies, load_policy
from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz, LongstaffSchwartzNet
from lem_models.execution.policy import Policy
from lem_models.execution.records import BENCHMARKS, Decision, ExecutionState, OrderBatch
from lem_models.features.market import Market
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import list_heads
from lem_models.modeling.model import LEMModel
from tests.helpers.models import random_model


class Scripted(Policy):
    """Answers from a table: ``fraction`` and ``finish``, [periods] or [orders, periods]."""

    def __init__(self, fraction: Any, finish: Any = 0.0) -> None:
        as_table = [torch.as_tensor(value, dtype=torch.float64) for value in (fraction, finish)]
        self.fraction, self.finish = (value if value.ndim else value[None].expand(512) for value in as_table)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        return Decision(self.fraction[..., state.period], self.finish[..., state.period])


class Erratic(Policy):
    """Fractions anywhere, negative and huge ones too; finishes at random."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        size = 10.0 ** self.rng.uniform(-4, 4, len(orders))
        fraction = np.where(self.rng.random(len(orders)) < 0.6, self.rng.random(len(orders)) / 3, size)
        return Decision(fraction * self.rng.choice([-1, 1, 1], len(orders)), self.rng.random(len(orders)))


class Recorder(Policy):
    """Passes another policy's decisions on, and keeps them."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        # Not its own risk aversion for fixed durations: orders that name none have one for all durations here.
        for name in ("lookback", "sessions", "horizon", "risk_aversion", "reads_size", "assumed_costs"):
            setattr(self, name, getattr(policy, name, getattr(Policy, name)))
        self.passes: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.states: list[ExecutionState] = []

    def encode(self, market: Market, rows: np.ndarray, side: np.ndarray) -> torch.Tensor | None:
        encode = getattr(self.policy, "encode", None)
        return None if encode is None else encode(market, rows, side)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        decision = self.policy.decide(context, orders, state)
        if state.period == 0:
            self.passes.append([])
        answers = (torch.as_tensor(a, dtype=torch.float64) for a in (decision.fraction, decision.finish))
        self.passes[-1].append(tuple(a.expand(len(orders)).detach().numpy().copy() for a in answers))
        self.states.append(state)
        return decision

    def decisions(self) -> np.ndarray:
        """Fractions and finish probabilities decided, [orders, periods, 2]; NaN where a pass was shorter."""
        tables = [np.stack([np.stack(answers, -1) for answers in part], 1) for part in self.passes]
        longest = max(table.shape[1] for table in tables)
        pad = [((0, 0), (0, longest - table.shape[1]), (0, 0)) for table in tables]
        return np.concatenate([np.pad(t, p, constant_values=np.nan) for t, p in zip(tables, pad, strict=True)])


SIZED = {"benchmarks": BENCHMARKS, "impact": 0.8, "head_config": {"hidden_size": 8, "layers": 2, "sized": True}}
"""Settings of a model that reads the size of orders."""

_RANDOM = {
    "random weights": SIZED | {"sessions": 7},
    **{
        f"random weights, {name}": {"head": name, "head_config": {"hidden_size": 8}, "hidden_size": 8}
        for name in list_heads()
        if name != "flexible"
    },
    "random weights, gru": {"encoder": "gru", "hidden_size": 8},
}

POLICIES: tuple[str, ...] = (*list_policies(), *_RANDOM, *list_models())
"""Every policy there is: the classical ones, models with random weights, and whatever the zoo holds."""


def _one_of_each_architecture() -> tuple[str, ...]:
    """Models of the zoo that differ in more than their weights, their market and their defaults."""
    own = {"horizon", "risk_aversion", "frequencies", "unseen_from"}
    first: dict[str, str] = {}
    for name in list_models():
        config = LEMConfig.from_file(name.folder / "config.json")
        first.setdefault(config.model_dump_json(exclude=own), name)
    return tuple(first.values())


KINDS: tuple[str, ...] = (*list_policies(), *_RANDOM, *_one_of_each_architecture())
"""Every policy of code of its own: :data:`POLICIES` without further weights of one architecture."""


@lru_cache
def policy_named(name: str) -> Any:
    """One of :data:`POLICIES`; the laws hold on bars of every length, so none of them refuses any."""
    if name.startswith("longstaff_schwartz"):  # with fewer paths: learns in a fraction of the time
        return (LongstaffSchwartzNet if name.endswith("net") else LongstaffSchwartz)(paths=256)
    policy = random_model(LEMConfig(**_RANDOM[name])) if name in _RANDOM else load_policy(name)
    if isinstance(policy, LEMModel):
        policy.config = policy.config.model_copy(update={"frequencies": ()})
    return policy
