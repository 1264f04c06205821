"""Names of the zoo in a card become ids of the Hub when the card is published; nothing else of the card changes."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from lem_models.hub.card import Card
from lem_models.hub.models.card_names import with_hub_ids
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.zoo import list_models

OWN = Card("---\nbase_model: lem-base\ndatasets:\n- crypto-hourly\n- org/else\nlicense: mit # mine\n---\n# Words\r\n")
SPECIALISTS = [name for name in list_models() if name != "lem-base"]


def test_the_base_is_the_one_of_the_same_organisation_and_data_are_those_that_are_named():
    card, notes = with_hub_ids(OWN, "desk/mine", {"crypto-hourly": f"desk/data@{'a' * 40}"})
    assert card.metadata == {"base_model": "desk/lem-base", "datasets": ["desk/data", "org/else"], "license": "mit"}
    assert card.text.endswith("license: mit # mine\n---\n# Words\r\n")
    assert notes == ["base_model of the card is desk/lem-base: publish lem-base there too"]


def test_data_that_nobody_names_are_left_out_with_a_note():
    card, notes = with_hub_ids(OWN, "desk/mine", {})
    assert card.metadata["datasets"] == ["org/else"]
    assert "leave out crypto-hourly" in notes[1]
    (only, _) = with_hub_ids(Card(OWN.text.replace("- org/else\n", "")), "desk/mine", {})
    assert "datasets" not in only.metadata
    assert only.text.endswith("license: mit # mine\n---\n# Words\r\n")


@pytest.mark.parametrize("text", ["# Words", "---\nbase_model: org/x\ndatasets: [org/y]\n---\n", "---\nx: z\n---"])
def test_a_card_with_other_names_stays_byte_for_byte(text):
    assert with_hub_ids(Card(text), "desk/mine", {"crypto-hourly": "desk/data"}) == (Card(text), [])


@pytest.mark.parametrize("name", list_models())
def test_a_bundled_card_has_what_the_hub_filters_by(name):
    data = ModelCard.load(bundled_folder(name) / "README.md").data
    assert data.pipeline_tag == "reinforcement-learning"
    assert data.datasets
    base = (data.base_model, data.to_dict().get("base_model_relation"))
    assert base == (("lem-base", "finetune") if name in SPECIALISTS else (None, None))
    card, _ = with_hub_ids(Card.read(bundled_folder(name) / "README.md"), f"desk/{name}", {})
    published = ModelCard(card.text).data
    assert published.datasets is None
    assert published.base_model == ("desk/lem-base" if name in SPECIALISTS else None)
    assert len(published.eval_results) == len(data.eval_results)
    assert published.model_name == name
