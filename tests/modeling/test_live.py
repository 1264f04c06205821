"""Contexts one bar at a time are those of ``encode``, and a new block costs no more than any other bar."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models.errors import UntrainedHeadError
from lem_models.execution.execute import execute
from lem_models.execution.records import Decision
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import BarReader
from lem_models.markets.synthetic import synthetic_bars
from lem_models.modeling.heads import AllocationHead, HeadConfig
from lem_models.modeling.live import ModelStream
from lem_models.modeling.model import LEMModel
from tests.helpers import hourly, perturbed, policy_named, random_model, rebuilt, sessions, tiny_config

FIRST = 280


def _weekdays() -> Bars:
    frame = synthetic_bars(symbols=1, days=590, frequency="1D", seed=4).frame
    kept = (frame["timestamp"].dt.day_of_week < 5) & (frame["timestamp"].dt.day_of_year % 61 != 3)
    return Bars.from_frame(frame[kept].reset_index(drop=True), calendar="sessions")


def _early_closes() -> Bars:
    bars = sessions(48, "30min")
    frame = bars.frame
    closed = (frame["timestamp"].dt.day % 4 == 0) & (frame["timestamp"].dt.hour >= 18)
    return rebuilt(bars, frame[~closed].reset_index(drop=True))


MARKETS = {
    "hourly": lambda: hourly(18, 1),
    "idle bars": lambda: perturbed(hourly(18, 1), np.arange(432), silent=0.2),
    "5-minute sessions": lambda: sessions(),
    "half-hourly sessions": lambda: sessions(44, "30min"),
    "early closes": _early_closes,
    "weekdays": _weekdays,
}

MODELS = {
    "bundled": lambda: policy_named("lem-crypto-hourly"),
    "small": lambda: random_model(tiny_config()),
    "no warm-up, two layers": lambda: random_model(tiny_config(warmup=0, tkan_layers=2)),
    "a warm-up of several blocks": lambda: random_model(tiny_config(warmup=50, block=11, attention_window=3)),
    "some features, long attention": lambda: random_model(
        tiny_config(features=("range", "return_close", "time_sin"), warmup=3, block=20, attention_window=64)
    ),
    "blocks of one bar": lambda: random_model(tiny_config(warmup=9, block=1)),
}


class Counting(ModelStream):
    """Counts how often a block begins unexpectedly."""

    late = 0

    def _read_late(self, late, symbols, values):
        self.late += len(late)
        super()._read_late(late, symbols, values)


def _streamed(model, bars, sides=(1,), first=FIRST):
    """Contexts from row ``first`` on, [bars, sides, width], and the number of blocks that began unexpectedly."""
    history = rebuilt(bars, bars.frame.iloc[: first + 1])
    stream, reader = Counting(model), BarReader(history)
    rows = stream.add(Market(history), np.full(len(sides), len(history) - 1), np.array(sides))
    contexts = [stream.contexts(rows).numpy()]
    for bar in bars.frame.to_dict("records")[first + 1 :]:
        reader.accept(read := reader.read(bar))
        stream.push({history.symbols[0]: read})
        contexts.append(stream.contexts(rows).numpy())
    return np.stack(contexts), stream.late


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("market", MARKETS)
def test_the_contexts_are_those_of_encode(name, market):
    model, bars = MODELS[name](), MARKETS[market]()
    rows = np.arange(FIRST, len(bars))
    streamed, _ = _streamed(model, bars, (1, -1))
    for number, side in enumerate((1, -1)):
        expected = model.encode(Market(bars), rows, np.full(len(rows), side)).numpy()
        np.testing.assert_allclose(streamed[:, number], expected, atol=5e-5)


def test_a_head_that_projects_gets_contexts_of_the_models_own_type():
    class Projecting(AllocationHead):
        def __init__(self, context_size):
            super().__init__(context_size, 6, HeadConfig())
            self.linear = torch.nn.Linear(context_size, 3)

        def project(self, contexts):
            return self.linear(contexts)

        def decide(self, context, orders, state):
            return Decision(0.1, False)

    model, bars = random_model(tiny_config()), hourly(14, 1)
    model.head = Projecting(model.head.context_size)
    model.double()
    rows = np.arange(FIRST, len(bars))
    expected = model.encode(Market(bars), rows, np.ones(len(rows))).numpy()
    np.testing.assert_allclose(_streamed(model, bars)[0][:, 0], expected, atol=5e-5)


@pytest.mark.parametrize("first", range(FIRST, FIRST + 24, 5))
def test_a_stream_may_begin_anywhere_in_a_block(first):
    model, bars = MODELS["small"](), hourly(25, 1)
    rows = np.arange(first, len(bars))
    expected = model.encode(Market(bars), rows, np.ones(len(rows))).numpy()
    streamed, reads = _streamed(model, bars, first=first)
    np.testing.assert_allclose(streamed[:, 0], expected, atol=5e-5)
    assert reads == 0


@pytest.mark.parametrize("name", ["bundled", "small", "a warm-up of several blocks", "blocks of one bar"])
@pytest.mark.parametrize("market", ["hourly", "5-minute sessions", "half-hourly sessions"])
def test_new_blocks_are_foreseen(name, market):
    _, reads = _streamed(MODELS[name](), MARKETS[market]())
    assert reads == 0


def test_a_block_that_was_not_foreseen_is_read_at_once():
    _, reads = _streamed(MODELS["small"](), MARKETS["early closes"]())
    assert reads > 0


@pytest.mark.parametrize("encoder", ["gru", "lstm", "none"])
def test_models_with_other_encoders_decide_live_as_in_hindsight(encoder):
    model, bars = random_model(tiny_config(encoder=encoder)), hourly(25, 1)
    start = int(np.flatnonzero(bars.timestamp == bars.timestamp[FIRST])[0])
    order = {
        "symbol": bars.symbols[0],
        "start": pd.Timestamp(int(bars.timestamp[start]), tz="UTC"),
        "side": "sell",
        "min_periods": 6,
        "max_periods": 6,
    }
    session = model.session(order, rebuilt(bars, bars.frame.iloc[:start]))
    live = []
    for bar in bars.frame.to_dict("records")[start : start + 6]:
        live.append(session.decide().fraction)
        session.observe(bar)
    hindsight = execute(model, bars, order).schedule["fraction"]
    np.testing.assert_allclose(live, hindsight, atol=1e-6)


def test_an_untrained_model_has_no_stream():
    with pytest.raises(UntrainedHeadError, match="random weights"):
        LEMModel(tiny_config()).stream()


@pytest.mark.parametrize(
    "name", ["small", "no warm-up, two layers", "a warm-up of several blocks", "blocks of one bar"]
)
def test_many_symbols_and_sides_advance_together_or_apart(name):
    model, bars = MODELS[name](), hourly(16, 4)
    known = bars.between(end=pd.Timestamp(int(bars.timestamp[FIRST + 1]), tz="UTC"))
    last, rng = known.offsets[1:] - 1, np.random.default_rng(1)
    stream = model.stream()
    # Three symbols of one side, then the same ones and another of both.
    first = stream.add(Market(known), last[:3], np.array([1, -1, 1]))
    both = np.concatenate([np.arange(4), np.arange(4)])
    side = np.repeat([1, -1], 4)
    rows = stream.add(Market(known), last[both], side)
    np.testing.assert_array_equal(first, rows[[0, 5, 2]])
    readers = [BarReader(known, index) for index in range(4)]
    coming = [bars.select([symbol]).frame.to_dict("records")[FIRST + 1 :] for symbol in bars.symbols]
    at = np.zeros(4, int)
    for _ in range(80):
        chosen = [n for n in range(4) if rng.random() < 0.7] if rng.random() < 0.5 else list(range(4))
        closed = {bars.symbols[n]: readers[n].read(coming[n][at[n]]) for n in chosen}
        for number in chosen:
            readers[number].accept(closed[bars.symbols[number]])
        stream.push(closed)
        at[chosen] += 1
        expected = model.encode(Market(bars), (bars.offsets[:-1] + FIRST + at)[both], side)
        np.testing.assert_allclose(stream.contexts(rows).numpy(), expected.numpy(), atol=5e-5)


def test_streams_of_a_model_share_its_weights_until_they_change():
    model = MODELS["small"]()
    weights = model.live_weights()
    assert model.live_weights() is weights
    with torch.no_grad():
        model.backbone.embedding.weight.data.mul_(2)
    assert model.live_weights() is not weights
