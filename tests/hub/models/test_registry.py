"""The registry of the zoo: rows are complete, and a row is all that a new market needs besides a recipe and weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks import zoo
from benchmarks.cards import make as cards
from benchmarks.zoo import Plan, RunPlan
from lem_models import LEMModel, list_models
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.hub.models import registry as registry_module
from lem_models.hub.models.registry import ZOO_FILE, Registry, registry, zoo_entry, zoo_market, zoo_source
from lem_models.hub.models.zoo import ZooModel
from lem_models.training.recipe import Recipe
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", sorted(registry().models))
def test_every_entry_is_complete_and_its_frequencies_are_those_of_its_markets(name):
    entry = zoo_entry(name)
    assert entry.evaluations
    assert entry.description
    assert entry.frequency.split(", ") == [zoo_market(market).frequency for market in entry.evaluations]


def test_every_bundled_model_has_a_row_and_every_row_a_bundled_model():
    assert set(registry().models) == set(list_models())
    assert set(registry().models) == {registry().base, *registry().specialists.values()}


@pytest.mark.parametrize("name", list_models())
def test_every_file_that_a_recipe_trains_on_has_a_source(name):
    for market in Recipe.read(REPOSITORY / "recipes" / name.entry.recipe).data:
        assert zoo_source(market.path.name).licence


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(UnknownNameError, match="lem-dow-daily"):
        zoo_entry("lem-dow-dayly")
    with pytest.raises(UnknownNameError, match="crypto-hourly"):
        zoo_market("crypto-hourli")
    with pytest.raises(UnknownNameError, match=r"zoo\.yaml"):
        ZooModel("a-folder-without-words").market  # noqa: B018


def changed(folder: Path, change) -> Path:
    """A copy of the registry after a change of its content."""
    content = yaml.safe_load(ZOO_FILE.read_text())
    change(content)
    (folder / "zoo.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "zoo.yaml"


def test_a_row_that_lacks_or_adds_a_field_is_refused(tmp_path):
    def misspell(content):
        content["markets"]["dow-daily"]["license"] = content["markets"]["dow-daily"].pop("licence")

    with pytest.raises(ConfigError, match=r"markets, dow-daily: missing \['licence'\], unexpected \['license'\]"):
        Registry.read(changed(tmp_path, misspell))


def test_a_specialist_that_lacks_a_field_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"markets, dow-daily, specialist: missing \['recipe'\]"):
        Registry.read(changed(tmp_path, lambda content: content["markets"]["dow-daily"]["specialist"].pop("recipe")))


def test_a_model_of_a_market_without_a_row_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"models, lem-base: there is no market dow-daily"):
        Registry.read(changed(tmp_path, lambda content: content["markets"].pop("dow-daily")))


# --- a new market ----------------------------------------------------------------------------------------------------

GOLD = {
    "title": "Gold futures, hourly bars",
    "file": "gold_hourly.parquet",
    "frequency": "1h",
    "calendar": "sessions",
    "period": "hour",
    "source": "An exchange.",
    "licence": "The exchange's terms.",
    "quirks": ["It is made up."],
    "test_start": "2025-01-01",
    "test_orders": [{"max_periods": 12, "every": 5, "null_draws": 3}],
    "specialist": {
        "title": "Gold futures, hours",
        "market": "metals",
        "description": "Executes orders in gold futures.",
        "intended_use": ["Buying gold."],
        "out_of_scope": [],
        "recipe": "gold_hourly.yaml",
        "tags": ["metals"],
    },
}


@pytest.fixture
def with_gold(tmp_path, monkeypatch) -> str:
    """The zoo with another market: a row, a recipe and weights."""
    path = changed(tmp_path, lambda content: content["markets"].update(gold=GOLD))
    pretrained = shutil.copytree(registry_module.PRETRAINED, tmp_path / "pretrained")
    shutil.copytree(pretrained / "lem-crypto-hourly", pretrained / "lem-gold")
    recipes = shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    recipe = yaml.safe_load((recipes / "dow_daily.yaml").read_text())
    recipe["name"], recipe["data"] = (
        "lem-gold",
        {
            "path": "gold_hourly.parquet",
            "train_end": "2023-01-01",
            "validation_end": "2024-01-01",
        },
    )
    (recipes / "gold_hourly.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(registry_module, "PRETRAINED", pretrained)
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.read(path))
    for script in (cards, zoo):
        monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(zoo, "registry", registry_module.registry)
    return "lem-gold"


def test_a_new_market_is_listed_and_loads(with_gold):
    models = list_models()
    (model,) = [model for model in models if model == with_gold]
    assert (model.market, model.frequency, model.entry.evaluations) == ("metals", "1h", ("gold",))
    assert model.fits("1h", "sessions")
    assert with_gold in repr(models)
    assert LEMModel.from_pretrained(with_gold).name == with_gold


def test_a_new_market_is_in_the_plan_of_the_benchmark(with_gold):
    plan = Plan.of()
    assert plan.market("gold").runs == (RunPlan(max_periods=12, every=5, null_draws=3),)
    assert plan.models("gold") == [with_gold, "lem-base"]
    assert plan.recipes[with_gold] == "gold_hourly.yaml"


def test_a_new_market_has_the_sources_of_its_card(with_gold):
    sources = cards.sources_of(ZooModel(with_gold))
    assert sources.recipe.name == with_gold
    assert zoo_source("gold_hourly.parquet").licence == "The exchange's terms."
    assert cards.make(ZooModel(with_gold)).missing == ("gold",)
