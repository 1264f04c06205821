"""Models published to a Hub and read back by the real client, over HTTP, from a server of our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lem_models.errors import ConfigError, LEMError, UnknownNameError, UntrainedHeadError, WeightsError
from lem_models.execution.execute import execute
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.model import LEMModel
from tests.helpers import hourly, order_table, random_model, tiny_config

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL_FILES = {"config.json", "model.safetensors"}
NAME = "desk/lem-tiny"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


def tiny(seed: int = 0) -> LEMModel:
    return random_model(tiny_config(), seed=seed)


def files_of(model: LEMModel, folder: Path) -> dict[str, bytes]:
    model.save_pretrained(folder)
    return {name: (folder / name).read_bytes() for name in MODEL_FILES}


def decisions(model: LEMModel) -> pd.DataFrame:
    bars = hourly()
    orders = order_table(bars, [300, 320, 340], side=["buy", "sell", "buy"], min_periods=[1, 3, 6], max_periods=6)
    schedule = execute(model, bars, orders).schedule
    assert len(schedule) > 3
    return schedule


def same_decisions(a: LEMModel, b: LEMModel) -> bool:
    return decisions(a).equals(decisions(b))


def everything_said(error: BaseException) -> str:
    """Messages of an error and of all that led to it."""
    said, seen, pending = [], set(), [error]
    while pending:
        one = pending.pop()
        if id(one) not in seen:
            seen.add(id(one))
            said.append(repr(one) + str(one))
            pending += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return "\n".join(said)


# --- publishing ------------------------------------------------------------------------------------------------------


def test_push_makes_the_repository_and_one_commit_with_configuration_weights_and_card(hub, tmp_path):
    model = tiny()
    url = model.push_to_hub(NAME, token=hub.token, commit_message="A tiny model")
    commit, first = hub.repository(NAME).history()
    assert url == f"{hub.endpoint}/{NAME}/commit/{commit.sha}"
    assert commit.message == "A tiny model"
    assert commit.changed == MODEL_FILES | {"README.md"}
    assert first.message == "initial commit"
    assert {name: commit.files[name] for name in MODEL_FILES} == files_of(model, tmp_path / "saved")
    assert not hub.repository(NAME).private


def test_weights_go_to_the_storage_host_and_the_token_does_not(hub):
    tiny().push_to_hub(NAME, token=hub.token, private=True)
    LEMModel.from_pretrained(NAME, token=hub.token)
    stored = [request for request in hub.requests if request.host == "storage"]
    assert [request.method for request in stored] == ["PUT", "GET"]
    assert all(request.token is None for request in stored)


def test_a_card_in_the_repository_is_left_alone(hub):
    card = b"---\nlicense: apache-2.0\n---\n# Written by hand\n"
    hub.create(NAME, {"README.md": card, "figures/gain.svg": b"<svg/>"})
    tiny().push_to_hub(NAME, token=hub.token)
    latest = hub.repository(NAME).at("main")
    assert latest.changed == MODEL_FILES
    assert latest.files["README.md"] == card
    assert latest.files["figures/gain.svg"] == b"<svg/>"


def test_the_same_model_again_makes_no_commit(hub):
    first, second = (tiny().push_to_hub(NAME, token=hub.token) for _ in range(2))
    assert first == second
    assert len(hub.repository(NAME).history()) == 2


def test_other_weights_make_a_commit_of_the_weights_and_their_hash(hub):
    tiny(0).push_to_hub(NAME, token=hub.token)
    tiny(1).push_to_hub(NAME, token=hub.token)
    assert hub.repository(NAME).at("main").changed == {"config.json", "model.safetensors"}


def test_a_branch_is_made_and_the_main_one_stays(hub):
    stable, candidate = tiny(0), tiny(1)
    stable.push_to_hub(NAME, token=hub.token)
    before = hub.repository(NAME).at("main")
    for _ in range(2):  # the branch may be there already
        candidate.push_to_hub(NAME, token=hub.token, branch="candidate")
    candidate.push_to_hub(NAME, token=hub.token, revision="candidate")
    with pytest.raises(ConfigError, match="pass one of them"):
        candidate.push_to_hub(NAME, token=hub.token, branch="candidate", revision="other")
    assert set(hub.repository(NAME).branches) == {"main", "candidate"}
    assert hub.repository(NAME).at("main") is before
    assert same_decisions(LEMModel.from_pretrained(NAME), stable)
    assert same_decisions(LEMModel.from_pretrained(NAME, revision="candidate"), candidate)


def test_a_pull_request_leaves_the_main_branch_as_it_is(hub):
    tiny(0).push_to_hub(NAME, token=hub.token)
    before = hub.repository(NAME).at("main")
    tiny(1).push_to_hub(NAME, token=hub.token, create_pr=True)
    assert hub.repository(NAME).at("main") is before
    assert same_decisions(LEMModel.from_pretrained(NAME, revision="refs/pr/1"), tiny(1))


def test_an_untrained_model_is_not_published(hub):
    with pytest.raises(UntrainedHeadError):
        LEMModel(tiny_config()).push_to_hub(NAME, token=hub.token)
    assert hub.requests == []


@pytest.mark.parametrize("token", [False, "hf_NotTheRightOne"])
def test_publishing_without_the_right_token_is_a_typed_error(hub, token):
    hub.create(NAME)
    with pytest.raises(LEMError, match=NAME) as caught:
        tiny().push_to_hub(NAME, token=token)
    assert "hf_NotTheRightOne" not in everything_said(caught.value)
    assert len(hub.repository(NAME).history()) == 1


def test_an_upload_that_breaks_off_is_a_typed_error_and_leaves_no_commit(hub):
    hub.fail("/commit/", 403)
    with pytest.raises(LEMError, match=NAME):
        tiny().push_to_hub(NAME, token=hub.token)
    assert len(hub.repository(NAME).history()) == 1


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_published_model_decides_as_the_original(hub, tmp_path):
    original = tiny()
    original.push_to_hub(NAME, token=hub.token)
    loaded = LEMModel.from_pretrained(NAME, cache_dir=tmp_path / "cache")
    assert same_decisions(loaded, original)
    assert loaded.config == original.config
    assert loaded.is_trained
    assert not loaded.training
    assert (tmp_path / "cache" / "models--desk--lem-tiny").is_dir()


def test_only_configuration_and_weights_are_downloaded(hub, tmp_path):
    hub.create(NAME, {**files_of(tiny(), tmp_path / "saved"), "README.md": b"a card", "optimizer.bin": b"\x80pickle"})
    LEMModel.from_pretrained(NAME)
    fetched = {request.path.rsplit("/", 1)[1] for request in hub.requests if "/resolve/" in request.path}
    assert fetched == MODEL_FILES


def test_a_revision_can_be_pinned_to_a_commit(hub):
    tiny(0).push_to_hub(NAME, token=hub.token)
    old = hub.repository(NAME).at("main").sha
    tiny(1).push_to_hub(NAME, token=hub.token)
    assert same_decisions(LEMModel.from_pretrained(NAME, revision=old), tiny(0))
    assert same_decisions(LEMModel.from_pretrained(NAME), tiny(1))


def test_a_private_model_needs_the_token(hub):
    tiny().push_to_hub(NAME, token=hub.token, private=True)
    assert hub.repository(NAME).private
    with pytest.raises(LEMError, match=NAME):
        LEMModel.from_pretrained(NAME)
    assert same_decisions(LEMModel.from_pretrained(NAME, token=hub.token), tiny())


@pytest.mark.parametrize("local_files_only", [True, False])
def test_a_model_that_was_read_once_is_there_without_the_server(hub, local_files_only):
    tiny().push_to_hub(NAME, token=hub.token)
    LEMModel.from_pretrained(NAME)
    hub.close()
    assert same_decisions(LEMModel.from_pretrained(NAME, local_files_only=local_files_only), tiny())


def test_local_files_only_asks_nothing(hub):
    tiny().push_to_hub(NAME, token=hub.token)
    LEMModel.from_pretrained(NAME)
    hub.requests.clear()
    LEMModel.from_pretrained(NAME, local_files_only=True)
    assert hub.requests == []


def test_environment_variables_are_enough(hub, tmp_path):
    """A process of its own, whose client reads its settings as a user's does: reads a private model, publishes it."""
    files = files_of(tiny(), tmp_path / "saved")
    hub.create(NAME, files, private=True)
    code = f"from lem_models import LEMModel; print(LEMModel.from_pretrained({NAME!r}).push_to_hub('desk/copy'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**hub.environment(tmp_path / "other"), "HF_TOKEN": hub.token, "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    copy = hub.repository("desk/copy").at("main")
    assert done.stdout.strip() == f"{hub.endpoint}/desk/copy/commit/{copy.sha}"
    assert {name: copy.files[name] for name in MODEL_FILES} == files


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local_files_only", [True, False])
def test_a_model_that_was_never_read_is_not_there_without_the_server(hub, local_files_only):
    tiny().push_to_hub(NAME, token=hub.token)
    hub.close()
    with pytest.raises(LEMError, match=rf"'{NAME}'.*not cached"):
        LEMModel.from_pretrained(NAME, local_files_only=local_files_only)


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_repository_that_does_not_exist_is_named(hub, signed_in):
    with pytest.raises(LEMError, match="'desk/no-such-model'"):
        LEMModel.from_pretrained("desk/no-such-model", token=hub.token if signed_in else False)


def test_a_revision_that_does_not_exist_is_named(hub):
    tiny().push_to_hub(NAME, token=hub.token)
    with pytest.raises(LEMError, match=f"(?s){NAME}.*no-such-branch"):
        LEMModel.from_pretrained(NAME, revision="no-such-branch")


def test_a_wrong_token_is_refused_and_not_repeated(hub):
    hub.create(NAME, private=True)
    with pytest.raises(LEMError, match="Invalid credentials") as caught:
        LEMModel.from_pretrained(NAME, token="hf_NotTheRightOne")
    assert "hf_NotTheRightOne" not in everything_said(caught.value)


@pytest.mark.parametrize("status", [500, None], ids=["server error", "hang up"])
def test_a_server_that_fails_is_a_typed_error(hub, waits, status):
    tiny().push_to_hub(NAME, token=hub.token)
    hub.fail(f"^/api/models/{NAME}", status)
    with pytest.raises(LEMError, match=NAME):
        LEMModel.from_pretrained(NAME)


@pytest.mark.parametrize("length", [0, 4, 100, -1], ids=["empty", "no header", "half a header", "a byte short"])
def test_damaged_weights_are_refused(hub, tmp_path, length):
    files = files_of(tiny(), tmp_path / "saved")
    hub.create(NAME, {**files, "model.safetensors": files["model.safetensors"][:length]})
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        LEMModel.from_pretrained(NAME)


def test_weights_of_another_architecture_are_refused(hub, tmp_path):
    files = files_of(tiny(), tmp_path / "one")
    others = files_of(random_model(tiny_config(hidden_size=4)), tmp_path / "other")
    hub.create(NAME, {**files, "model.safetensors": others["model.safetensors"]})
    with pytest.raises(WeightsError, match="the configuration asks for"):
        LEMModel.from_pretrained(NAME)


@pytest.mark.parametrize("present", [(), ("config.json",), ("model.safetensors",)])
def test_a_repository_that_lacks_a_file_of_the_model_is_named(hub, tmp_path, present):
    files = files_of(tiny(), tmp_path / "saved")
    hub.create(NAME, {"README.md": b"something else", **{name: files[name] for name in present}})
    with pytest.raises(LEMError, match=NAME):
        LEMModel.from_pretrained(NAME)


@pytest.mark.parametrize("name", ["no-such-model", "a/b/c", "./desk/model", "~/model"])
def test_a_name_that_is_no_hub_id_never_touches_the_network(hub, name):
    LEMModel.from_pretrained("lem-crypto-hourly")
    known = f"known: {', '.join(map(repr, map(str, list_models())))}"
    with pytest.raises(UnknownNameError, match="there is no folder" if "/" in name else known):
        LEMModel.from_pretrained(name)
    assert hub.requests == []
