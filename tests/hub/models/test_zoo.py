"""The list of bundled models: names that know what they are, read from small files, at once."""

import json
import pickle
import subprocess
import sys

import pytest

from lem_models import LEMConfig, list_models
from lem_models.hub.models import registry
from lem_models.hub.models.registry import weights_hash, zoo_market


def test_the_list_is_one_of_names():
    models = list_models()
    assert "lem-crypto-hourly" in models
    assert models == sorted(models)
    assert ", ".join(models) == ", ".join(map(str, models))
    assert json.loads(json.dumps(models)) == list(models)
    assert pickle.loads(pickle.dumps(models)) == models


@pytest.mark.parametrize("name", list_models())
def test_a_name_knows_what_the_model_is(name):
    assert isinstance(name, str)
    assert name.horizon == LEMConfig.from_file(name.folder / "config.json").horizon
    assert name.size == sum(path.stat().st_size for path in name.folder.iterdir())
    assert name.frequency.split(", ") == [zoo_market(key).frequency for key in name.entry.evaluations]
    assert weights_hash(name.folder) != weights_hash(name.folder)[::-1]


def test_printed_it_is_a_table():
    models = list_models()
    header, *lines = repr(models).splitlines()
    assert header.split() == ["model", "market", "frequency", "horizon", "size", "headline"]
    for name in models:
        (line,) = [line for line in lines if line.split()[:1] == [str(name)]]
        assert name.market in line
        assert f"{name.size / 1e6:.1f} MB" in line
        if name.headline is not None:
            assert line.endswith(str(name.headline))
            for each in name.headline.prices:
                assert f"{each.gross:+.1f} / {each.net:+.1f}" in line


def test_neither_listing_nor_describing_loads_anything_heavy():
    code = (
        "import sys, lem_models; text = repr(lem_models.list_models()) + lem_models.list_models().to_json();"
        "sys.exit(bool({'torch', 'pandas', 'numpy', 'pydantic', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _bundle(folder, monkeypatch, metrics=None):
    """A zoo with one model, of which there is no more than its configuration and its metrics."""
    model = folder / "lem-base"
    model.mkdir()
    (model / "config.json").write_text('{"horizon": 78}')
    if metrics is not None:
        (model / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.setattr(registry, "PRETRAINED", folder)
    return list_models()


def _evaluation(market, split="test", mean=0.4, tracking=None):
    row = {"low_vol": mean - 0.02, "high_vol": mean + 0.02, "std_vol": 0.5}
    rows = [{"min_periods": 6, "mean_vol": mean / 2, **row}, {"min_periods": 1, "mean_vol": mean, **row}]
    tracked = [{"policy": "volume_curve", "std_ratio_vol": 9.0}]
    tracked += [] if tracking is None else [{"policy": "twap", "std_ratio_vol": tracking}]
    longer = {"max_periods": 24, "rows": rows[:1], "tracking": []}
    return {"market": market, "split": split, "runs": [{"max_periods": 12, "rows": rows, "tracking": tracked}, longer]}


def test_a_model_without_results_says_so(tmp_path, monkeypatch):
    models = _bundle(tmp_path, monkeypatch)
    assert models[0].headline is None
    assert models[0].headlines == ()
    assert "not measured" in repr(models)
    assert json.loads(models.to_json())[0]["headlines"] == []


def test_the_headline_is_the_shortest_minimum_of_the_first_run_of_each_market(tmp_path, monkeypatch):
    evaluations = [_evaluation("crypto-hourly", tracking=0.66), _evaluation("dow-daily", "validation", mean=-0.1)]
    models = _bundle(tmp_path, monkeypatch, {"evaluations": evaluations})
    first, second = models[0].headlines
    assert (first.min_periods, first.max_periods, first.mean_vol, first.tracking) == (1, 12, 0.4, 0.66)
    assert models[0].headline == first
    text = "own benchmark +0.400 ± 0.500 [0.380, 0.420] bar vol., min 1 of 12; errors × TWAP's, fixed 12: std 0.66"
    assert str(first) == text
    assert second.tracking is None
    assert "(validation)" in str(second)
    lines = repr(models).splitlines()
    assert len(lines) == 3
    assert "78" in lines[1]
    assert lines[1].endswith(f"crypto-hourly: {text}")
    assert lines[2].strip().startswith("dow-daily: own benchmark -0.100")


def test_the_headline_has_three_prices_gross_and_net_and_two_measures_of_the_errors(tmp_path, monkeypatch):
    evaluation = _evaluation("crypto-hourly", tracking=0.66) | {"reduced": True}
    run = evaluation["runs"][0]
    ends = {f"{name}_bps": 0.0 for name in ("gross_low", "gross_high", "low", "high")}
    ends |= {f"difference{end}_bps": None for end in ("", "_low", "_high")}
    run["rows"][1]["prices"] = [
        {"against": price, "size": 0.01, "gross_bps": gross, "net_bps": gross - 10, **ends}
        for price, gross in (("own", 25.44), ("full_vwap", 2.9), ("arrival", 3.0))
    ]
    run["tracking_errors"] = [
        {"policy": policy, "measure": "median_abs", "ratio": ratio}
        for policy, ratio in (("volume_curve", 9), ("twap", 1.4))
    ]
    headline = _bundle(tmp_path, monkeypatch, {"evaluations": [evaluation]})[0].headline
    assert str(headline) == (
        "own benchmark +25.4 / +15.4, full VWAP +2.9 / -7.1, arrival +3.0 / -7.0 bps gross / net at 1 %, min 1 of 12; "
        "errors × TWAP's, fixed 12: std 0.66, median 1.40"
    )
    assert headline.reduced
