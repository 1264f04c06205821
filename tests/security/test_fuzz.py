"""Mutated files: whatever they hold, reading them gives what was asked for or the package's typed error."""

import json
import math
import re
import struct

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models.errors import ConfigError, LEMError, OrderError, WeightsError
from lem_models.guard.text import parse_json, shown
from lem_models.guard.yaml import parse_yaml
from lem_models.hub.models.folder import read_weights
from lem_models.markets.order_placing import BarPlacement
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.model import LEMModel
from lem_models.orders.table import complete_orders
from lem_models.training.recipe import Recipe
from tests.helpers import hourly
from tests.security.corpus import sound_model

ALARMING = [b"\x00", b"\xff", b'"', b"[", b"]", b"{", b"}", b",", b":", b"-", b"9", b"1e9", b"NaN", b"null", b"\\ud800"]
ALARMING += [b"\\", b"\n", b"&a ", b"*a", b"<<: ", b"!!python/name:os.system ", b'"dtype"', b'"shape"', b"\x80\x04\x95"]


@st.composite
def edits(draw):
    """A function that changes bytes in a few places: flips, cuts, inserts, repeats or moves them."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "cut", "insert", "repeat", "move", "truncate"]),
                st.floats(0, 1, exclude_max=True),
                st.floats(0, 1, exclude_max=True),
                st.integers(1, 255),
                st.one_of(st.sampled_from(ALARMING), st.binary(max_size=8)),
            ),
            min_size=1,
            max_size=4,
        )
    )
    squeeze = draw(st.sampled_from([1.0, 1.0, 0.25, 0.01]))  # some only near the beginning, where the headers are

    def change(data):
        for kind, where, to, mask, extra in steps:
            at = int(where * squeeze * len(data))
            length = 1 + mask % 16
            piece = data[at : at + length]
            if kind == "flip" and at < len(data):
                data = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            elif kind == "cut":
                data = data[:at] + data[at + length :]
            elif kind == "insert":
                data = data[:at] + extra + data[at:]
            elif kind == "repeat":
                data = data[:at] + piece * (1 + mask) + data[at:]
            elif kind == "move":
                rest = data[:at] + data[at + length :]
                data = rest[: int(to * len(rest))] + piece + rest[int(to * len(rest)) :]
            elif kind == "truncate":
                data = data[:at]
        return data

    return change


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**40), 10**40),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["flexible", "paper", "range", "__class__", "os.system", "x" * 3000, "\x1b[2J", "2024-01-01"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)

KEYS = [*LEMConfig.model_fields, "auto_map", "self", "a\nb", "hidden_size"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A sound model: its folder and its tensors."""
    folder = sound_model(tmp_path_factory.mktemp("fuzz") / "model")
    return folder, LEMModel.from_pretrained(folder).state_dict()


def _is_fine(error):
    text = str(error)
    assert text.isprintable(), text
    assert len(text) < 2500, text


def _check_weights(content, path, expected):
    path.write_bytes(content)
    try:
        with path.open("rb") as file:
            found = read_weights(file, expected)
    except WeightsError as error:
        _is_fine(error)
        return False
    assert set(found) == set(expected)
    for key, tensor in found.items():
        assert (tensor.shape, tensor.dtype) == (expected[key].shape, expected[key].dtype)
        assert bool(torch.isfinite(tensor).all())
    return True


def _check_config(content, path):
    path.write_bytes(content)
    try:
        config = LEMConfig.from_file(path)
    except ConfigError as error:
        _is_fine(error)
        return
    assert LEMConfig(**json.loads(config.to_json())) == config
    try:
        with torch.device("meta"):
            LEMModel(config)
    except LEMError as error:
        _is_fine(error)


def _check_recipe(text, path):
    path.write_bytes(text)
    try:
        recipe = Recipe.read(path)
    except ConfigError:
        return
    assert recipe.name


def _fuzzed(examples):
    allowed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, suppress_health_check=allowed)


def _run(case, model, tmp_path, examples):
    folder, expected = model
    weights, config = (folder / name for name in ("model.safetensors", "config.json"))
    sound_weights, sound_config = weights.read_bytes(), config.read_bytes()
    start = 8 + struct.unpack("<Q", sound_weights[:8])[0]

    if case == "bytes of the weights":

        @_fuzzed(examples)
        @given(edits())
        def run(change):
            _check_weights(change(sound_weights), tmp_path / "model.safetensors", expected)

    elif case == "header of the weights":  # of the right length, so that what it says is looked at

        @_fuzzed(examples)
        @given(edits())
        def run(change):
            header = change(sound_weights[8:start])
            content = struct.pack("<Q", len(header)) + header + sound_weights[start:]
            _check_weights(content, tmp_path / "model.safetensors", expected)

    elif case == "entries of the header":

        @_fuzzed(examples)
        @given(st.data())
        def run(data):
            header = json.loads(sound_weights[8:start])
            key = data.draw(st.sampled_from(sorted(expected)))
            name = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
            before = header[key].get(name)
            header[key][name] = data.draw(st.one_of(values, st.lists(st.integers(-1, 1 << 64), max_size=3)))
            text = json.dumps(header).encode()
            content = struct.pack("<Q", len(text)) + text + sound_weights[start:]
            fits = _check_weights(content, tmp_path / "model.safetensors", expected)
            assert fits == (json.dumps(header[key].get(name)) == json.dumps(before) and name != "more")

    elif case == "bytes of the configuration":

        @_fuzzed(examples)
        @given(edits())
        def run(change):
            _check_config(change(sound_config), tmp_path / "config.json")

    elif case == "values of the configuration":

        @_fuzzed(examples)
        @given(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=9)), values, min_size=1, max_size=4))
        def run(changes):
            content = json.dumps({**json.loads(sound_config), **changes}).encode()
            _check_config(content, tmp_path / "config.json")

    else:
        assert case == "bytes of a recipe"
        recipe = b"name: a\ndata: &d {train_end: 2024-01-01, validation_end: 2024-02-01}\nmodel:\n  horizon: 6\n"
        recipe += b"trainer: {steps: 3, <<: {patience: 2}}\norders:\n  max_periods: 6\n"

        @_fuzzed(examples)
        @given(edits())
        def run(change):
            _check_recipe(change(recipe), tmp_path / "recipe.yaml")

    run()


CASES = [
    "bytes of the weights",
    "header of the weights",
    "entries of the header",
    "bytes of the configuration",
    "values of the configuration",
    "bytes of a recipe",
]


@pytest.mark.parametrize("case", CASES)
def test_mutated_files(case, model, tmp_path):
    _run(case, model, tmp_path, 80)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_many_mutated_files(case, model, tmp_path):
    _run(case, model, tmp_path, 4_000)


@given(values)
def test_what_json_says_is_read_as_it_is(value):
    text = json.dumps(value)
    plain = json.loads(text)
    try:
        found = parse_json(text)
    except ValueError as error:
        assert re.search("finite|digits", str(error))  # noqa: PT017 (either outcome is right)
        return
    assert repr(found) == repr(plain)
    assert all(math.isfinite(leaf) for leaf in _leaves(found) if isinstance(leaf, float))


@given(st.one_of(values, st.text(), st.binary(max_size=50)))
def test_what_is_shown_is_short_and_printable(value):
    assert len(shown(value)) < 1000
    assert shown(value).isprintable()


@given(st.text(alphabet="ab:&*-[]{}, \n<'\"!?|>#", max_size=40))
def test_yaml_gives_values_or_a_value_error(text):
    try:
        found = parse_yaml(text)
    except ValueError:
        return
    assert sum(1 for _ in _leaves(found)) <= 40


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


BARS = hourly()
ORDERS = [
    {"order_id": "007", "symbol": "S000", "start": "2024-01-12T00:00Z", "side": "buy", "max_periods": 6, "amount": 0.3},
    {
        "order_id": "b",
        "symbol": "S001",
        "start": "2024-01-12T00:20Z",
        "side": "Sell",
        "max_periods": "12h",
        "notional": 9,
    },
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of orders as a file of each kind: path and content."""
    folder = tmp_path_factory.mktemp("orders")
    frame = pd.DataFrame(ORDERS)
    (folder / "orders.json").write_text(json.dumps({"orders": ORDERS}), encoding="utf-8")
    frame.to_csv(folder / "orders.csv", index=False)
    frame.astype({"max_periods": str}).to_parquet(folder / "orders.parquet")
    return [(path, path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(change=edits())
def test_mutated_files_of_orders_are_orders_or_refused(tables, change):
    for path, content in tables:
        path.write_bytes(change(content))
        try:
            complete_orders(path, horizon=12, risk_aversion=0.0, placement=BarPlacement(BARS))
        except OrderError as error:
            _is_fine(error)
