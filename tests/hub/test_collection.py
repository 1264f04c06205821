"""The collection of the zoo on the Hub: its items, and adding what an existing one lacks."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import HubError, LEMError
from lem_models.hub.collection import PAPER, publish_collection, zoo_collection
from lem_models.hub.models.zoo import list_models

OWNER, DATA = "desk", "desk/crypto-hourly"


@pytest.fixture
def published(hub, monkeypatch):
    """A Hub that has every model and the data set, and whose token is known."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    for name in list_models():
        hub.create(f"{OWNER}/{name}")
    hub.create(DATA, kind="datasets")
    return hub


def items(hub):
    (collection,) = hub.collections.values()
    return [(item["type"], item["id"]) for item in collection["items"]]


def test_it_has_every_model_the_base_first_then_data_and_the_paper():
    made = zoo_collection(OWNER, [DATA, DATA])
    others = [f"{OWNER}/{name}" for name in sorted(list_models()) if name != "lem-base"]
    assert [item.id for item in made.items] == [f"{OWNER}/lem-base", *others, DATA, PAPER]
    assert len(made.description) <= 150
    assert all(0 < len(item.note) <= 500 for item in made.items)


def test_it_is_made_and_the_client_reads_it_back(published):
    url = publish_collection(zoo_collection(OWNER, [DATA]))
    (slug,) = published.collections
    assert url == f"{published.endpoint}/collections/{slug}"
    back = HfApi(endpoint=published.endpoint).get_collection(slug)
    made = zoo_collection(OWNER, [DATA])
    assert [(item.item_type, item.item_id, item.note) for item in back.items] == [
        (item.type, item.id, item.note) for item in made.items
    ]


def test_a_second_time_only_what_is_missing_is_added(published):
    publish_collection(zoo_collection(OWNER))
    before = items(published)
    publish_collection(zoo_collection(OWNER, [DATA]))
    assert items(published) == [*before, ("dataset", DATA)]


def test_a_model_that_is_not_published_yet_is_named(published):
    del published.repositories["models", f"{OWNER}/lem-dow-daily"]
    with pytest.raises(
        HubError, match="no desk/lem-dow-daily; publish first, `lem publish model NAME --to desk/lem-dow-daily`"
    ):
        publish_collection(zoo_collection(OWNER))
    assert published.collections == {}


@pytest.mark.parametrize(("owner", "data"), [("a/b", []), ("../x", []), ("", []), (OWNER, ["crypto-hourly"])])
def test_names_that_the_hub_does_not_have_are_refused_before_anything_is_asked(published, owner, data):
    with pytest.raises(LEMError):
        zoo_collection(owner, data)
    assert published.requests == []


def test_the_command_prints_it_and_sends_it_when_it_is_told_to(published):
    command = ["publish", "collection", OWNER, "--dataset", DATA]
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert all(f"{OWNER}/{name}" in dry.output for name in list_models())
    assert dry.output.rstrip().endswith("dry run: nothing was sent")
    assert {request.method for request in published.requests} == {"GET"}
    del published.repositories["models", f"{OWNER}/lem-base"]
    lacking = CliRunner().invoke(app, [*command, "--dry-run"])
    assert lacking.output.rstrip().endswith(f"publish first, the Hub lacks them: {OWNER}/lem-base")
    published.create(f"{OWNER}/lem-base")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"published: {published.endpoint}/collections/" in done.output
    assert ("dataset", DATA) in items(published)
