"""Configurations: what they say, what they refuse, and that nothing hostile gets far."""

import json

import pytest

from lem_models.errors import ConfigError
from lem_models.features.causal import FEATURES
from lem_models.features.market import MAX_LOOKBACK
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.config import ConfigFile, LEMConfig
from tests.helpers import tiny_config


def _file(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _json(**settings):
    return json.dumps({"schema_version": 1, **settings})


def test_defaults():
    config = LEMConfig()
    assert config.features == FEATURES
    assert config.horizon == 12
    assert config.head == "flexible"
    assert config.lookback <= 256


def test_the_text_reads_back_the_same(tmp_path):
    config = tiny_config(
        features=("range", "return_close"), dropout=0.25, risk_aversion=1.5, unseen_from={"1h": "2024-01-01"}
    )
    assert LEMConfig.from_file(_file(tmp_path, config.to_json())) == config
    assert json.loads(config.to_json())["schema_version"] == 1


@pytest.mark.parametrize("name", list_models())
def test_bundled_configurations_read(name):
    file = ConfigFile.read(bundled_folder(name) / "config.json")
    assert file.to_json() == (bundled_folder(name) / "config.json").read_text()
    assert LEMConfig.from_file(bundled_folder(name) / "config.json") == file.config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": "long"}, "horizon"),
        ({"horizon": 2.5}, "horizon"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"tkan_layers": 10**6}, "tkan_layers"),
        ({"encoder": "transformer"}, "encoder"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"risk_aversion": -1.0}, "risk_aversion"),
        ({"risk_aversion": float("nan")}, "risk_aversion"),
        ({"features": ["tomorrow"]}, "unknown features.*tomorrow"),
        ({"features": ["range", "range"]}, "a feature occurs twice"),
        ({"features": 7}, "features"),
        ({"head": "os.system"}, "unknown head 'os.system'; registered: fixed_duration, flexible, paper, static_curve"),
        ({"head_config": "large"}, "head_config"),
        ({"hidden_size": 30, "attention_heads": 4}, "multiple of attention_heads"),
        ({"warmup": 128}, f"exceed the {MAX_LOOKBACK} bars"),
        ({"colour": "red"}, "colour"),
        ({"self": 1}, "self"),
        ({"schema_version": 2}, "schema_version"),
    ],
    ids=str,
)
def test_what_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LEMConfig(**settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a readable JSON"),
        ("{", "not a readable JSON"),
        ("[1, 2]", "must hold a JSON object, not a list"),
        ("null", "must hold a JSON object"),
        (b"\xff\xfe\x00", "not a readable JSON"),
        ("[" * 100_000, "not a readable JSON"),
        ('{"schema_version": 1, "horizon": ' + "9" * 10_000 + "}", "config"),
        ("{}", "schema_version None"),
        (json.dumps({"schema_version": 99}), "schema_version 99; this version of lem_models reads 1"),
        (json.dumps({"schema_version": "1"}), "schema_version '1'"),
        ('{"schema_version": 1, "horizon": 3, "horizon": 4}', "a key occurs twice"),
        ('{"schema_version": 1, "head_config": {"layers": 1, "layers": 2}}', "a key occurs twice"),
        (_json(head="unknown"), "unknown head"),
        (_json(horizon="many"), "horizon"),
        (_json(self=1), "self"),
        (_json(__class__="os"), "__class__"),
        (_json(hidden_size=1e300), "hidden_size"),
        (_json(pad=" " * (1 << 20)), "more than 262,144 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_file_is_refused_with_a_typed_error(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        LEMConfig.from_file(_file(tmp_path, content))


def test_a_missing_file_is_refused_with_a_typed_error(tmp_path):
    with pytest.raises(ConfigError, match=r"config.json is not a readable"):
        LEMConfig.from_file(tmp_path / "config.json")


def test_lengths_of_bars_are_kept_in_one_form():
    assert LEMConfig(frequencies=["60min", "24h", "h"]).frequencies == ("1h", "1D")
    for nonsense in ("soon", "-1h", "0h", "\x1b[2J"):
        with pytest.raises(ConfigError, match="frequencies"):
            LEMConfig(frequencies=[nonsense])


def test_a_file_that_records_no_frequencies_still_loads(tmp_path):
    content = json.loads(LEMConfig().to_json())
    del content["frequencies"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert LEMConfig.from_file(tmp_path / "config.json").frequencies == ()
