"""What the examples of CONTRIBUTING.md make works where the page says that it does."""

import numpy as np
import pytest
import torch
import yaml

from lem_models.features import causal
from lem_models.hub.models.registry import ZOO_FILE, Registry
from lem_models.statistics.reference_prices import OrderMarket
from tests.docs.pages import ROOT, Page
from tests.helpers import hourly

PAGE = Page(ROOT / "CONTRIBUTING.md")


def example(heading, language="python"):
    """The block of a section."""
    section = PAGE.text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return section.split(f"```{language}\n")[1].split("```")[0]


def made_by(heading):
    names = {"__name__": "page"}
    exec(example(heading), names)
    return names


def test_the_row_of_a_market_is_one_of_the_registry(tmp_path):
    content = yaml.safe_load(ZOO_FILE.read_text(encoding="utf-8"))
    content["markets"] |= yaml.safe_load(example("A market", "yaml"))
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    rows = Registry.read(tmp_path / "zoo.yaml")
    assert rows.specialists["fx-15min"] == "lem-fx-15min"
    assert rows.models["lem-fx-15min"].recipe == "fx_15min.yaml"


def test_the_row_of_a_feature_becomes_its_last_column(monkeypatch):
    before = causal.compute_features(hourly()).values
    definitions = causal.DEFINITIONS | made_by("A feature")["row"]
    monkeypatch.setattr(causal, "DEFINITIONS", definitions)
    monkeypatch.setattr(causal, "FEATURES", tuple(definitions))
    values = causal.compute_features(hourly()).values
    np.testing.assert_array_equal(values[:, :-1], before)
    assert np.isfinite(values[:, -1]).all()
    assert values[:, -1].std() > 0


def test_the_reference_price_is_the_mean_of_the_bars_that_traded():
    row = made_by("A reference price")["row"]
    price = torch.tensor([[1.0, 2.0, 6.0]])
    market = OrderMarket(
        price,
        volume=torch.tensor([[1.0, 0.0, 5.0]]),
        end=torch.tensor([[0]]),
        last=torch.tensor([[2]]),
        is_notional=torch.tensor([False]),
    )
    assert row.price(market).item() == pytest.approx(3.5)
