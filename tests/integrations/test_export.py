"""The exported step: it decides what live orders decide, in every format, and refuses what it cannot do."""

import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.export import Graph, Replay, parity
from lem_models import LEMModel, Order
from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.integrations.export import export as exporting
from lem_models.integrations.export import export_model, layout_of
from lem_models.integrations.export.description import DESCRIPTION_KEY, described
from lem_models.integrations.export.layout import MarketLayout
from lem_models.integrations.export.step import LiveStep
from lem_models.modeling.heads.path_state import RaggedState, benchmark_weights, path_features
from tests.helpers.models import random_model, tiny_config

ROOT = Path(__file__).resolve().parents[2]
SIZED = {"head_config": {"hidden_size": 8, "layers": 2, "sized": True, "profile_exponent": True}, "impact": 0.8}
BENCHMARKS = ("vwap", "twap", "full_vwap", "arrival")

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="onnx, onnxruntime and onnxscript are the extra 'onnx', which is not installed",
)


def tiny(**settings):
    known = {**SIZED, "benchmarks": BENCHMARKS, "frequencies": ("1h", "4h", "5min", "1D")}
    return random_model(tiny_config(**{**known, **settings}))


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def step(model):
    return LiveStep(model, layout_of(model, "1h"))


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    return export_model(model, tmp_path_factory.mktemp("export") / "tiny.onnx", frequency="1h")


def eager_parity(model, frequency, slots=None, **settings):
    step = LiveStep(model, layout_of(model, frequency, slots))
    wanted = {"decisions": 60, "rows": 4, "symbols": 2, **settings}
    return parity(model, frequency, lambda rows: Graph.eager(step, rows), history=step.history, **wanted)


def check(facts):
    assert facts["largest"] < 1e-5, facts
    assert facts["finish"] == 0
    assert facts["remaining"] < 1e-5


@pytest.mark.parametrize(
    ("frequency", "slots", "settings"),
    [
        ("1h", None, {}),
        pytest.param("4h", None, {"warmup": 0}, marks=pytest.mark.slow),
        ("4h", None, {"warmup": 16, "block": 8}),  # two chains warm up side by side
        ("4h", None, {"sessions": 20, "horizon": 30}),  # orders longer than a session
        ("4h", None, {"encoder": "none"}),
        pytest.param("5min", 78, {"sessions": 3}, marks=pytest.mark.slow),
        ("1D", 1, {}),  # blocks begin unexpectedly
    ],
)
def test_the_step_decides_what_live_orders_decide(frequency, slots, settings):
    check(eager_parity(tiny(**settings), frequency, slots))


def test_path_features_of_orders_in_periods_of_their_own_are_those_of_one_period():
    rng = np.random.default_rng(0)
    from tests.helpers.orders import order_batch

    count, horizon = 5, 6
    orders = order_batch(
        count, benchmark=["vwap", "twap", "arrival", "full_vwap", "vwap"], min_periods=2, max_periods=5
    )

    def drawn(*shape):
        return torch.tensor(rng.uniform(0.9, 1.1, shape))

    prices, volumes, expected = drawn(count, horizon), drawn(count, horizon), drawn(count, horizon)
    outlook, numbers = drawn(count, horizon) - 1, {name: drawn(count) for name in ("vwap", "twap", "last_close")}
    for period in range(5):
        ragged = RaggedState(
            period=torch.full((count,), period),
            remaining=drawn(count) / 2,
            lower=torch.zeros(count),
            upper=torch.ones(count),
            executed_price=drawn(count),
            last_price=prices[:, period - 1] if period else numbers["last_close"],
            **numbers,
            prices=prices,
            volumes=volumes,
            expected_volume=expected,
            volatility=drawn(count) / 100,
            arrival_price=drawn(count),
        )
        known = {"period": period, "prices": prices[:, :period], "volumes": volumes[:, :period]}
        plain = type(ragged).__mro__[1](**{**vars(ragged), **known})
        of = [path_features(orders, each, benchmark_weights(orders, each, outlook)) for each in (plain, ragged)]
        torch.testing.assert_close(*of, rtol=0, atol=1e-12)


# --- what a graph answers instead of an error ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answered(model, step):
    """Answers of one row, a buyer's, after the bar with which its order comes."""
    replay, row = Replay(model, "1h", step.history, 2, 1, 3), np.zeros(1, dtype=np.int64)
    graph, known = Graph.eager(step, 1), {}
    for bar in range(step.history):
        known[bar] = [each.copy() for each in graph.state]
        graph.step({**replay.inputs(bar, row), "side": np.ones(1)})
    return partial(_answered, step, replay, known)


def _answered(step, replay, known, change=None, history=None, **order):
    graph, row = Graph.eager(step, 1), np.zeros(1, dtype=np.int64)
    last = (history or replay.history) - 1
    graph.state = [each.copy() for each in known[last]]
    given = {"min_periods": 1, "max_periods": 6, "side": 1, **order}
    inputs = {**replay.inputs(last, row), **{name: np.array([value]) for name, value in given.items()}}
    return graph.step({**inputs, **(change or {}), "begin": np.array([True])})


def test_a_row_is_ready_after_the_lookback(answered):
    assert np.isnan(answered(history=255)["fraction"]).all()
    assert np.isfinite(answered(history=256)["fraction"]).all()


@pytest.mark.parametrize(
    "order",
    [
        {"max_periods": 7},
        {"min_periods": 5, "max_periods": 4},
        {"max_rate": 0.1},
        {"min_rate": 0.6, "max_rate": 0.5},
        {"benchmark": 4},
        {"lot_size": 1.0},
        {"risk_aversion": -1.0},
        {"side": -1},  # the row has read its bars as a buyer
    ],
)
def test_an_order_that_breaks_a_rule_gets_no_number(answered, order):
    assert np.isnan(answered(**order)["fraction"]).all()


def test_a_missing_bar_makes_a_row_unready(model, step, answered):
    late = {"timestamp": np.array([Replay(model, "1h", step.history, 2, 1, 3).bars.timestamp[step.history + 1]])}
    answer = answered(late)
    assert not answer["ready"].any()
    assert np.isnan(answer["fraction"]).all()


@pytest.mark.slow
def test_an_order_that_would_cross_its_session_gets_no_number():
    model = tiny(sessions=3)
    step = LiveStep(model, MarketLayout.of("5min", 78))
    graph = Graph.eager(step, 1)
    replay, row = Replay(model, "5min", step.history, 60, 1, 0), np.zeros(1, dtype=np.int64)
    bar = 0
    while bar < step.history or replay.bars.grid.slot(np.array([bar]))[0] != 72:
        graph.step(replay.inputs(bar, row))
        bar += 1
    given = {**replay.inputs(bar, row), "begin": np.array([True])}
    answers = [graph.step({**given, "max_periods": np.array([periods])}) for periods in (5,)]
    assert np.isfinite(answers[0]["fraction"]).all()
    crossing = Graph.eager(step, 1)
    replay.history = bar + 1
    replay.warmed(crossing, np.ones(1), row)
    assert np.isnan(crossing.step({**given, "max_periods": np.array([6])})["fraction"]).all()


# --- formats ---------------------------------------------------------------------------------------------------------


@needs_onnx
def test_onnx_decides_what_live_orders_decide(model, step, onnx_file):
    check(
        parity(model, "1h", lambda n: Graph.onnx(onnx_file, n), history=step.history, decisions=150, rows=8, symbols=2)
    )
    check(
        parity(model, "1h", lambda n: Graph.onnx(onnx_file, n), history=step.history, decisions=20, rows=1, symbols=1)
    )


@needs_onnx
@pytest.mark.slow
def test_onnx_decides_what_live_orders_decide_in_ten_thousand_steps(model, step, onnx_file):
    facts = parity(model, "1h", lambda n: Graph.onnx(onnx_file, n), history=step.history, decisions=10_000)
    assert facts["decisions"] >= 10_000
    check(facts)


@needs_onnx
def test_an_onnx_file_describes_itself(model, onnx_file):
    import onnx

    file = onnx.load(str(onnx_file))
    about = json.loads({each.key: each.value for each in file.metadata_props}[DESCRIPTION_KEY])
    assert about["config"] == json.loads(model.config.to_json())
    assert (about["frequency"], about["lookback"], about["never_closes"]) == ("1h", 256, True)
    assert about["opset"] in [each.version for each in file.opset_import if not each.domain]
    inputs = {each.name: each.type.tensor_type.shape.dim for each in file.graph.input}
    assert [slot["name"] for slot in (*about["inputs"], *about["state"])] == list(inputs)
    for slot in (*about["inputs"], *about["state"]):
        rows, *shape = inputs[slot["name"]]
        assert rows.dim_param, "the number of rows is open"
        assert [each.dim_value for each in shape] == slot["shape"]
    assert not {"features", "context"} & set(inputs)


@needs_onnx
def test_the_consumer_needs_nothing_but_the_file(model, step, onnx_file, tmp_path):
    replay = Replay(model, "1h", step.history, 8, 1, 0)
    frame, start = replay.frame, pd.Timestamp(int(replay.bars.timestamp[step.history]), tz="UTC")
    frame.drop(columns="symbol").to_csv(tmp_path / "bars.csv", index=False)
    wanted = {"min_periods": 2, "max_periods": 6, "risk_aversion": 0.5}
    done = subprocess.run(
        [
            *(sys.executable, "-I", ROOT / "examples" / "onnx_consumer.py", onnx_file, tmp_path / "bars.csv"),
            *(str(start), "side=-1", *(f"{name}={value}" for name, value in wanted.items())),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    order = Order(symbol=replay.bars.symbols[0], start=start, side="sell", **wanted)
    session = model.session(order, replay.before(step.history))
    expected = []
    for bar in range(step.history, step.history + 6):
        if session.done:
            break
        decision = session.decide()
        expected.append((decision.fraction, bool(decision.finish)))
        session.observe(replay.frame.iloc[bar].to_dict())
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [(line[-1] == "finish") for line in lines] == [finish for _, finish in expected]
    got = [float(line[-2] if line[-1] == "finish" else line[-1]) for line in lines]
    assert got == pytest.approx([fraction for fraction, _ in expected], abs=1e-5)


@needs_onnx
def test_the_consumer_is_short_and_without_this_package():
    text = (ROOT / "examples" / "onnx_consumer.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert "import lem_models" not in text
    assert "from lem_models" not in text


@pytest.mark.slow
def test_a_program_of_torch_decides_what_live_orders_decide(model, step, tmp_path):
    path = export_model(model, tmp_path / "tiny.pt2", "torch-export", frequency="1h")
    files = {f"{DESCRIPTION_KEY}.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    assert json.loads(files[f"{DESCRIPTION_KEY}.json"])["lookback"] == 256
    for rows in (8, 1):
        settings = {"history": step.history, "decisions": 20 * rows, "rows": rows, "symbols": 1}
        check(parity(model, "1h", lambda n: Graph.program(program, step, n), **settings))


@pytest.mark.slow
def test_a_compiled_package_decides_what_live_orders_decide(model, step, tmp_path):
    path = export_model(model, tmp_path / "tiny.pt2", "aoti", frequency="1h")
    program = torch._inductor.aoti_load_package(str(path))
    assert json.loads(program.get_metadata()[DESCRIPTION_KEY])["lookback"] == 256
    settings = {"history": step.history, "decisions": 100, "rows": 8, "symbols": 1}
    check(parity(model, "1h", lambda n: Graph.program(program, step, n), **settings))


def test_the_hash_is_that_of_the_file_of_weights():
    model = LEMModel.from_pretrained("lem-crypto-hourly")
    about = json.loads(described(model, LiveStep(model, layout_of(model)), layout_of(model), None))
    config = json.loads((model.source / "config.json").read_text(encoding="utf-8"))
    assert about["weights_sha256"] == config["weights_sha256"]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": "features"}, "normalised outside"),
        ({"to": "tflite"}, "unknown format 'tflite': a model is exported to onnx, torch-export, aoti"),
        ({"to": "aoti"}, r"end with \.pt2"),
        ({"frequency": "2h"}, r"trained on bars of 1h or 4h or 5min or 1D, not of 2h"),
        ({"frequency": "7h", "allow_frequency": True}, "do not divide a day"),
        ({"frequency": "1h", "slots": 25}, "1 to 24 bars of 1h"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_any_work(model, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        export_model(model, tmp_path / "model.onnx", **settings)
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_exported_are_refused():
    layout = MarketLayout.of("1h", None)
    with pytest.raises(ConfigError, match="only LEMModel with the 'flexible' head"):
        LiveStep(random_model(tiny_config(head="static_curve", head_config={})), layout)
    with pytest.raises(UntrainedHeadError):
        LiveStep(LEMModel(tiny_config()), layout)
    with pytest.raises(ConfigError, match="encoder 'gru'"):
        LiveStep(tiny(encoder="gru"), layout)
    with pytest.raises(ConfigError, match=r"call model\.eval"):
        LiveStep(tiny().train(), layout)
    with pytest.raises(ConfigError, match="take longer bars"):
        LiveStep(tiny(sessions=20), MarketLayout.of("10s", None))


def test_a_market_is_asked_for_where_the_model_leaves_it_open():
    with pytest.raises(ConfigError, match=r"trained on 1h, 30min, 1D, 5min"):
        layout_of(LEMModel.from_pretrained("lem-base"))
    with pytest.raises(ConfigError, match="name the bars of 5min"):
        layout_of(LEMModel.from_pretrained("lem-equity-5min"))
    daily = layout_of(LEMModel.from_pretrained("lem-dow-daily"))
    assert (daily.slots, daily.never_closes, daily.needs_place) == (1, False, True)
    assert not layout_of(LEMModel.from_pretrained("lem-crypto-hourly")).needs_place


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lem-models\[onnx\]'"):
        export_model(model, tmp_path / "model.onnx", frequency="1h")
