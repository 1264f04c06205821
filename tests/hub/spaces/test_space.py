"""The app as a Space: what is sent, what stays, what a dry run says."""

from __future__ import annotations

import ast

import pytest
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from lem_models import __version__
from lem_models.cli.app import app
from lem_models.errors import ConfigError, LEMError, UnknownNameError
from lem_models.hub.card import Card
from lem_models.hub.settings import SpaceUpload
from lem_models.hub.spaces.push import plan_space, publish_space

NAME = "desk/one-order"

pytest.importorskip("gradio", reason="a Space runs the release of gradio that is installed (extra app)")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


@pytest.fixture(autouse=True)
def _token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)


def lem(*arguments: str) -> str:
    """Output of the command; its typed errors are raised."""
    result = CliRunner().invoke(app, ["publish", "space", *arguments])
    if isinstance(result.exception, LEMError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_dry_run_shows_every_file_and_sends_nothing(hub):
    output = lem("--to", NAME, "--dry-run")
    assert f"repository: {hub.endpoint}/spaces/{NAME} (to be made" in output
    for text in ("new     README.md", "sdk: gradio", "app_file: app.py", f"lem-models[app]=={__version__}", "launch()"):
        assert text in output
    assert output.rstrip().endswith("dry run: nothing was sent")
    assert not hub.repositories


def test_a_space_is_made_with_the_three_files_that_run_the_app(hub):
    import gradio

    output = lem("--to", NAME, "--private")
    repository = hub.repository(NAME, "spaces")
    latest = repository.at("main")
    assert output.rstrip().endswith(f"published: {hub.endpoint}/spaces/{NAME}/commit/{latest.sha}")
    assert repository.private
    assert latest.changed == {"README.md", "app.py", "requirements.txt"}
    card = Card(latest.files["README.md"].decode())
    assert card.metadata["sdk"] == "gradio"
    assert card.metadata["sdk_version"] == gradio.__version__
    assert card.metadata["app_file"] == "app.py"
    assert len(card.metadata["short_description"]) <= 60  # the Hub refuses a longer one
    requirement = Requirement(latest.files["requirements.txt"].decode().strip())
    assert (requirement.name, requirement.extras, str(requirement.specifier)) == (
        *("lem-models", {"app"}),
        f"=={__version__}",
    )
    source = ast.parse(latest.files["app.py"])
    (imported,) = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    assert (imported.module, [each.name for each in imported.names]) == ("lem_models.app", ["launch"])


def test_a_second_publication_sends_nothing(hub):
    first = publish_space(SpaceUpload(repo_id=NAME))
    again = publish_space(SpaceUpload(repo_id=NAME))
    assert not again.to_send
    assert again.url.endswith(first.url.rpartition("/")[2])
    assert len(hub.repository(NAME, "spaces").history()) == 3  # .gitattributes, the Hub's own page, ours


def test_a_page_that_somebody_wrote_stays_but_for_what_the_hub_must_know(hub):
    theirs = "---\ntitle: Ours\nsdk: docker\nemoji: X\n---\n# Our page\n"
    hub.create(NAME, {"README.md": theirs.encode(), "notes.txt": b"kept"}, kind="spaces")
    output = lem("--to", NAME)
    assert "the page in the repository stays" in output
    files = hub.repository(NAME, "spaces").at("main").files
    card = Card(files["README.md"].decode())
    assert card.text.endswith("---\n# Our page\n")
    assert {key: card.metadata[key] for key in ("title", "emoji", "sdk", "app_file")} == {
        **{"title": "Ours", "emoji": "X"},
        **{"sdk": "gradio", "app_file": "app.py"},
    }
    assert files["notes.txt"] == b"kept"
    lem("--to", NAME, "--replace-card")
    replaced = hub.repository(NAME, "spaces").at("main").files["README.md"].decode()
    assert "# One order, bar by bar" in replaced
    assert yaml.safe_load(replaced.split("---")[1])["title"] == "One order, bar by bar"


def test_a_page_with_broken_metadata_is_refused_before_anything_is_sent(hub):
    hub.create(NAME, {"README.md": b"---\na: [\n---\n# Page\n"}, kind="spaces")
    with pytest.raises(LEMError, match="the metadata of the page of 'desk/one-order' cannot be read"):
        publish_space(SpaceUpload(repo_id=NAME))
    assert "app.py" not in hub.repository(NAME, "spaces").at("main").files


@pytest.mark.parametrize("requirement", ["", " x", "a\nb", "--index-url x", "# nothing", "x" * 400], ids=repr)
def test_a_requirement_is_one_line(requirement):
    if not requirement:
        assert SpaceUpload(repo_id=NAME, requirement=requirement).requirement == ""
        return
    with pytest.raises(ConfigError, match="a requirement is one line of pip"):
        plan_space(SpaceUpload(repo_id=NAME, requirement=requirement))


def test_names_of_spaces_are_hub_ids():
    with pytest.raises(UnknownNameError, match="a Space on the Hub is named 'org/name'"):
        SpaceUpload(repo_id="name")
