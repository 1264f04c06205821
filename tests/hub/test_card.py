"""Cards: the head is read once, and a change of it leaves every other byte alone."""

from __future__ import annotations

import pytest

from lem_models.hub import card as card_module
from lem_models.hub.card import MAX_CARD_BYTES, Card

TEXT = "---\nlicense: mit   # mine\ntags:\n- a\n- b\nconfigs: []\n---\n# Words\r\n---\nmore\n"


def test_the_head_is_read_once(monkeypatch):
    texts = []
    monkeypatch.setattr(card_module, "parse_yaml", lambda text: texts.append(text) or {"license": "mit"})
    card = Card(TEXT)
    assert card.metadata is card.metadata
    assert len(texts) == 1


@pytest.mark.parametrize("text", ["", "# Words", "---\nlicense: mit\n", "---\n---\n# Words"])
def test_a_card_without_a_head_has_no_metadata(text):
    assert Card(text).metadata == {}


@pytest.mark.parametrize("head", ["- 1", "[", "a: 1\na: 2", "x: " + "[" * 3000])
def test_a_head_that_is_no_mapping_is_refused(head):
    with pytest.raises(ValueError, match=r"."):
        Card(f"---\n{head}\n---\n").metadata  # noqa: B018


def test_other_values_leave_the_rest_as_it_is_written():
    card = Card(TEXT).with_metadata({"tags": ["c"], "size": 1})
    assert card.text == TEXT.replace("- a\n- b\n", "- c\n").replace("configs: []\n", "configs: []\nsize: 1\n")
    assert card.metadata == {"license": "mit", "tags": ["c"], "configs": [], "size": 1}
    assert card.with_metadata({"size": 1}) is card


def test_a_head_in_an_unusual_form_is_written_anew():
    card = Card("---\n{license: mit, tags: [a]}\n---\nwords").with_metadata({"tags": ["b"]})
    assert card.metadata == {"license": "mit", "tags": ["b"]}
    assert card.text.endswith("---\nwords")


def test_a_card_without_a_head_gets_one():
    assert Card("words").with_metadata({"license": "mit"}).text == "---\nlicense: mit\n---\nwords"


def test_a_card_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "README.md").write_bytes(b"x" * (MAX_CARD_BYTES + 1))
    with pytest.raises(ValueError, match="more than"):
        Card.read(tmp_path / "README.md")
