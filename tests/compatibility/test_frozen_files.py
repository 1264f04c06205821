"""Files of version 1 of every format still read: weights, bars, data sets, logs of a desk, fitted policies, recipes.

The files under ``files/`` were written by release 0.2.0. They are never written again: a change that breaks this test
breaks files of users. Their content is simulated.
"""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars, LEMModel, execute
from lem_models.baselines.tracking.convex import ConvexPolicy
from lem_models.desk import Desk
from lem_models.hub.card import Card
from lem_models.training.recipe import Recipe
from tests.hub.server import HubServer, point_client_at

FILES = Path(__file__).parent / "files"
FACTS = json.loads((FILES / "bars.json").read_text(encoding="utf-8"))


def facts(bars):
    shown = {"symbols": list(bars.symbols), "frequency": str(bars.frequency), "calendar": bars.calendar.name}
    return {"content_hash": bars.content_hash, **shown, "bars": len(bars)}


def test_bars_in_a_mapped_file_are_the_same_to_the_bit_with_their_further_column():
    bars = Bars.read(FILES / "bars.arrow", verify=True)
    assert facts(bars) == FACTS
    np.testing.assert_array_equal(bars.frame["trades"], np.arange(len(bars)) % 100)


def test_a_data_set_of_the_hub_is_the_same_to_the_bit(monkeypatch, tmp_path):
    folder = FILES / "dataset"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with HubServer() as hub:
        point_client_at(hub, monkeypatch, tmp_path)
        hub.create("org/data", files, kind="datasets")
        assert facts(Bars.from_hub("org/data", split="test")) == FACTS
        assert len(list(Bars.from_hub("org/data", split="test", streaming=True))) > 0
    card = Card.read(folder / "README.md")
    assert card.metadata["license"] == "cc-by-4.0"
    assert card.metadata["configs"][0]["data_files"] == [{"split": "test", "path": "data/test-*"}]


def test_a_published_data_set_takes_another_split_and_keeps_its_card(monkeypatch, tmp_path):
    """The sections of a generated card carry hashes: a card of an older release must still be recognised."""
    folder, bars = FILES / "dataset", Bars.read(FILES / "bars.arrow")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with HubServer() as hub:
        point_client_at(hub, monkeypatch, tmp_path)
        hub.create("org/data", files, kind="datasets")
        bars.push_to_hub("org/data", split="train", licence="cc-by-4.0", token=hub.token)
        after = hub.repository("org/data", "datasets").at("main").files["README.md"].decode()
        assert facts(Bars.from_hub("org/data", split="test")) == FACTS
    old = (folder / "README.md").read_text(encoding="utf-8")
    section = old[old.index("<!-- lem_models: split test") : old.index("<!-- lem_models: end of split test -->")]
    assert section in after
    assert "<!-- lem_models: split train" in after


@pytest.mark.filterwarnings("ignore:'model' does not record the length")
def test_weights_decide_as_they_did():
    model = LEMModel.from_pretrained(FILES / "model")
    result = execute(model, Bars.read(FILES / "bars.arrow"), FILES / "model" / "orders.csv", allow_frequency=True)
    before = pd.read_csv(FILES / "model" / "schedule.csv")
    ours = result.schedule
    assert len(before) > 100
    assert ours["order_id"].astype(int).tolist() == before["order_id"].tolist()
    assert ours["period"].tolist() == before["period"].tolist()
    np.testing.assert_allclose(ours["fraction"], before["fraction"], atol=1e-4, rtol=0.0)


def test_the_log_of_a_desk_is_taken_up_again_with_a_fill_of_version_1(tmp_path):
    pytest.importorskip("sqlalchemy", reason="the extra desk is not installed")
    desk = Desk(str(shutil.copy(FILES / "desk.db", tmp_path / "desk.db")))
    buy, sell = desk.status().orders
    assert (buy.symbol, buy.amount, buy.filled, buy.average_price) == ("S000", 12, 2, Decimal("92.70716314241625"))
    assert (sell.status, sell.filled) == ("paused", 0)
    (decision,) = desk.decide()
    assert (decision.quantity, decision.left, decision.period) == (Decimal("2.5"), Decimal("7.5"), 2)
    desk.fill("1", decision.quantity, price=93, id="f2")
    frame = Bars.read(FILES / "bars.arrow").frame
    desk.observe(frame[(frame["symbol"] == "S000") & (frame["timestamp"] == decision.window[0])])
    (after,) = desk.decide()
    assert (after.period, after.left, desk.status().orders[0].filled) == (3, 5, Decimal("4.5"))
    desk.close()


def test_the_numbers_of_a_fitted_policy_are_read():
    policy = ConvexPolicy.from_folder(FILES / "convex")
    assert policy.coefficients.model_dump(mode="json") == json.loads((FILES / "convex" / "convex.json").read_text())


def test_a_recipe_is_read():
    recipe = Recipe.read(FILES / "recipe.yaml")
    assert recipe.finetune.start == "lem-base"
    assert recipe.data[0].path.name == "crypto_hourly.parquet"
