"""The page on heads: its table names every head, and its example decides only after it was trained."""

import re

import pytest
import yaml

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.execute import execute
from lem_models.modeling.heads import base, list_heads
from lem_models.orders import Order
from tests.docs.pages import ROOT, Page
from tests.helpers import hourly
from tests.training.tiny import BARS, TINY

PAGE = Page(ROOT / "docs" / "heads.md")
BLOCKS = [block.text for block in PAGE.python]


def test_the_table_names_every_head():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.text, re.MULTILINE)) == set(list_heads())


def test_the_head_is_short():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 30


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(base, "_HEADS", dict(base._HEADS))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "my_head"}
    exec(BLOCKS[0], names)
    exec(BLOCKS[1], names)
    printed = capsys.readouterr().out
    for line in ("head.hidden.weight [16, 76]", "backbone.attention.output.weight [32, 32]", "head.outlook.weight"):
        assert line in printed
    bars = hourly()
    orders = Order.sample(bars, every=25, min_periods=[1, 12], max_periods=12)
    with pytest.raises(UntrainedHeadError):
        execute(names["model"], bars, orders)
    with pytest.raises(ConfigError, match="head_config of 'urgency': width"):
        names["model"].with_head("urgency", {"width": 3})

    BARS.write(tmp_path / "bars.parquet")
    recipe = {**TINY, "data": {**TINY["data"], "stretch": 32}, "trainer": {"steps": 2, "steps_per_epoch": 1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    exec(BLOCKS[2], names)
    result = execute(names["model"], bars, orders)
    assert len(result.orders) > 0
    assert result.orders["filled"].min() == pytest.approx(1.0)
    assert (tmp_path / "my-model" / "model.safetensors").is_file()
