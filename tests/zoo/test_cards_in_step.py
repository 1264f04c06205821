"""Every bundled model has a card, and card and metrics are what the recorded results say."""

import json

import pytest
from huggingface_hub import ModelCard

from benchmarks.cards.make import CARDS, make, stale
from lem_models.hub.models.registry import weights_hash
from lem_models.hub.models.zoo import list_models
from lem_models.hub.names import METRICS_NAME
from tests.conftest import REPOSITORY

MODELS = list_models()


@pytest.mark.parametrize("name", MODELS)
def test_card_and_metrics_are_in_step(name):
    made = make(name)
    assert not made.missing, f"no results are recorded on {made.missing}"
    found = [str(path.relative_to(REPOSITORY)) for path in stale(made)]
    assert found == [], "run: python benchmarks/cards/make.py"


@pytest.mark.parametrize("name", MODELS)
def test_the_metrics_are_of_these_weights(name):
    metrics = json.loads((name.folder / METRICS_NAME).read_text(encoding="utf-8"))
    assert metrics["weights_sha256"] == weights_hash(name.folder)
    assert name.headline is not None


@pytest.mark.parametrize("name", MODELS)
def test_the_hub_can_read_the_card(name):
    card = ModelCard.load(CARDS / name / "README.md")
    assert card.data.library_name == "lem_models"
    assert card.data.license == "apache-2.0"
    assert card.data.model_name == name
    assert {result.dataset_type for result in card.data.eval_results} == set(name.entry.evaluations)
    headline = name.headline
    shown = {result.metric_value for result in card.data.eval_results}
    assert headline.mean_vol in shown


def test_there_is_no_card_of_a_model_that_is_gone():
    assert {path.name for path in CARDS.iterdir()} == set(MODELS)
