"""Publishing models: what is sent, what stays, and what a dry run says."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import ConfigError, HubError, LEMError, UnknownNameError
from lem_models.hub import commit, repository
from lem_models.hub.card import Card
from lem_models.hub.models.card_names import with_hub_ids
from lem_models.hub.models.contents import contents_of
from lem_models.hub.models.registry import bundled_folder, weights_hash
from lem_models.hub.models.zoo import list_models
from lem_models.hub.repository import Repository
from lem_models.hub.settings import ModelUpload
from lem_models.modeling.model import LEMModel
from tests.conftest import REPOSITORY
from tests.helpers import random_model, tiny_config
from tests.hub.faults import Fault

NAME = "desk/lem-tiny"
BUNDLED = "lem-crypto-hourly"
CARD = b"---\nlibrary_name: lem_models\nlicense: mit\ntags: [mine]\n---\n# Mine\n![gain](figures/gain.png)\n"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


@pytest.fixture(autouse=True)
def _token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return random_model(tiny_config()).save_pretrained(tmp_path_factory.mktemp("publish") / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A model with a card, a picture, and files that are nobody's business."""
    copy = shutil.copytree(saved, tmp_path / "model")
    (copy / "README.md").write_bytes(CARD)
    (copy / "figures").mkdir()
    (copy / "figures" / "gain.png").write_bytes(b"\x89PNG")
    (copy / "run.json").write_text("{}")
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "last.ckpt").write_bytes(b"state")
    return copy


def lem(*arguments: str) -> str:
    """Output of the command; its typed errors are raised."""
    result = CliRunner().invoke(app, ["publish", "model", *map(str, arguments)])
    if isinstance(result.exception, LEMError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


# --- the card --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_a_bundled_model_carries_its_card(name):
    for path in (REPOSITORY / "model_cards" / name).iterdir():
        assert (bundled_folder(name) / path.name).read_bytes() == path.read_bytes()


def test_a_bundled_model_is_published_with_its_own_card(hub):
    output = lem(BUNDLED, "--to", NAME)
    latest = hub.repository(NAME).at("main")
    assert output.rstrip().endswith(f"published: {hub.endpoint}/{NAME}/commit/{latest.sha}")
    own = {path.name: path.read_bytes() for path in bundled_folder(BUNDLED).iterdir() if path.name != "metrics.json"}
    assert {"config.json", "model.safetensors", "README.md"} <= own.keys()
    own["README.md"] = with_hub_ids(Card(own["README.md"].decode()), NAME, {})[0].text.encode()
    assert {path: latest.files[path] for path in latest.changed} == own
    card = ModelCard(latest.files["README.md"].decode())
    assert (card.data.library_name, card.data.license) == ("lem_models", "apache-2.0")
    assert {"finance", "vwap"} <= set(card.data.tags)
    assert len(card.data.eval_results) >= 5


def test_the_folder_sends_its_card_and_pictures_and_nothing_of_the_run(hub, folder):
    LEMModel.from_pretrained(folder).push_to_hub(NAME)
    latest = hub.repository(NAME).at("main")
    assert latest.changed == {"config.json", "model.safetensors", "README.md", "figures/gain.png"}
    assert latest.files["README.md"] == CARD


def test_a_card_in_the_repository_stays_unless_its_replacement_is_asked_for(hub, folder):
    there = b"---\nlicense: other\n---\n# Theirs\n"
    hub.create(NAME, {"README.md": there})
    assert "the card in the repository stays" in lem(folder, "--to", NAME)
    latest = hub.repository(NAME).at("main")
    assert latest.changed == {"config.json", "model.safetensors"}
    lem(folder, "--to", NAME, "--replace-card")
    assert hub.repository(NAME).at("main").changed == {"README.md", "figures/gain.png"}


def test_other_weights_under_a_card_that_stays_are_noted(hub, folder):
    hub.create(NAME, {"README.md": b"---\nlicense: other\n---\n# Theirs\n", "model.safetensors": b"others"})
    said = " ".join(lem(folder, "--to", NAME, "--dry-run").split())
    assert "the card in the repository stays, and was written for the weights before these" in said


def test_a_card_that_is_written_meanwhile_stays_too(hub, folder, monkeypatch):
    hub.create(NAME)
    looks, theirs = [], b"# written between the plan and the commit"

    def describe(*arguments) -> Repository:
        looks.append(repository.describe(*arguments))
        if len(looks) == 2:  # the first look is for what can be refused at once
            hub.repository(NAME).commit({"README.md": theirs}, message="somebody else")
        return looks[-1]

    monkeypatch.setattr(commit, "describe", describe)
    LEMModel.from_pretrained(folder).push_to_hub(NAME)
    assert len(looks) == 3
    assert hub.repository(NAME).at("main").files["README.md"] == theirs


@pytest.mark.parametrize("private", [True, None])
def test_a_repository_that_somebody_else_makes_meanwhile_is_looked_at_too(hub, folder, monkeypatch, private):
    theirs = b"# written between the plan and the commit"

    def describe(*arguments) -> Repository:
        try:
            return repository.describe(*arguments)
        finally:
            if not hub.repositories:
                hub.create(NAME, {"README.md": theirs})

    monkeypatch.setattr(commit, "describe", describe)
    model = LEMModel.from_pretrained(folder)
    if private:
        with pytest.raises(HubError, match="it exists and is public"):
            model.push_to_hub(NAME, private=True)
    else:
        model.push_to_hub(NAME)
    files = hub.repository(NAME).at("main").files
    assert files["README.md"] == theirs
    assert ("model.safetensors" in files) is not private


def test_a_card_that_is_written_before_a_second_attempt_stays(hub, folder, monkeypatch):
    theirs = b"# written while the first attempt was waiting"
    hub.fail("/commit/", 500, times=1)
    monkeypatch.setattr(time, "sleep", lambda _: hub.repository(NAME).commit({"README.md": theirs}))
    LEMModel.from_pretrained(folder).push_to_hub(NAME)
    assert hub.repository(NAME).at("main").files["README.md"] == theirs


@pytest.mark.parametrize("name", ["README.md", "finetune.json", "metrics.json"])
def test_a_link_that_leads_out_of_the_folder_is_not_published(hub, saved, tmp_path, name):
    (tmp_path / "id_rsa").write_text("secret")
    folder = shutil.copytree(saved, tmp_path / "linked")
    (folder / name).symlink_to("../id_rsa")
    with pytest.raises(ConfigError, match=f"{name} is a link that leads out of its folder"):
        LEMModel.from_pretrained(folder).push_to_hub(NAME)
    assert hub.requests == []


def test_an_answer_that_is_lost_makes_no_second_commit(hub, folder, waits):
    hub.create(NAME)
    hub.faults.add(Fault("cut answer", "/commit/", after=0, times=1))
    url = LEMModel.from_pretrained(folder).push_to_hub(NAME)
    assert len(hub.repository(NAME).history()) == 2
    assert url.endswith(hub.repository(NAME).at("main").sha)


@pytest.mark.parametrize("status", ["cut", None, 500, 504])
def test_an_answer_that_is_lost_makes_no_second_pull_request(hub, folder, waits, status):
    hub.create(NAME)
    cut = Fault("cut answer", "/commit/", after=0)
    fault = hub.faults.add(cut) if status == "cut" else hub.fail("/commit/", status)
    with pytest.raises(HubError, match="may have arrived anyway, so it is not sent again"):
        LEMModel.from_pretrained(folder).push_to_hub(NAME, create_pr=True)
    assert fault.happened == 1
    pulls = [name for name in hub.repository(NAME).branches if name.startswith("refs/pr/")]
    assert len(pulls) == (status == "cut")


@pytest.mark.parametrize("status", [429, 503])
def test_a_pull_request_that_was_turned_away_is_sent_again(hub, folder, waits, status):
    hub.create(NAME)
    hub.fail("/commit/", status, times=1)
    assert LEMModel.from_pretrained(folder).push_to_hub(NAME, create_pr=True).endswith("/discussions/1")


def test_a_model_that_has_changed_since_it_was_loaded_does_not_take_the_card_along(hub, folder):
    model = LEMModel.from_pretrained(folder)
    model.head.output.bias.data.add_(1)
    model.push_to_hub(NAME)
    assert b"# Mine" not in hub.repository(NAME).at("main").files["README.md"]


def test_a_card_of_ones_own_may_be_named(hub, folder, saved):
    LEMModel.from_pretrained(saved).push_to_hub(NAME, card=folder / "README.md")
    assert hub.repository(NAME).at("main").files["README.md"] == CARD


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"---\nlicense: [\n---\n", "cannot be published"),
        (b"---\n- a list\n---\n", "not a mapping"),
        (b"---\ndate: 2024-13-45\n---\n", "month must be in"),
        (b"---\nn: " + b"1" * 5000 + b"\n---\n", "cannot be published"),
        (b"---\nn: !!int ''\n---\n", "does not fit its tag"),
        (b"---\nx: " + b"[" * 3000 + b"\n---\n", "nested more than"),
        (b"\xff\xfe", "utf-8"),
        (b"x" * (1 << 21), "more than"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused_before_anything_is_asked(hub, folder, card, message):
    (folder / "README.md").write_bytes(card)
    with pytest.raises(ConfigError, match=message):
        lem(folder, "--to", NAME)
    assert hub.requests == []


def test_a_licence_does_not_contradict_the_card(hub, folder):
    with pytest.raises(ConfigError, match=r"says license: mit, not apache-2\.0"):
        lem(folder, "--to", NAME, "--licence", "apache-2.0")


def test_pictures_outside_the_folder_stay(folder):
    (folder.parent / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "README.md").write_bytes(
        CARD + b"![a](../secret.png) ![b](link.png) ![c](run.json) ![d](https://x.org/y.png)"
    )
    contents = contents_of(folder, ModelUpload(repo_id=NAME))
    assert contents.card_files == {"README.md", "figures/gain.png"}
    assert sum("outside" in note for note in contents.notes) == 2
    assert any("run.json" in note for note in contents.notes)


# --- a plain card ----------------------------------------------------------------------------------------------------


def plain(hub, **settings) -> str:
    random_model(tiny_config(unseen_from={"1h": "2024-01-01"})).push_to_hub(NAME, **settings)
    return hub.repository(NAME).at("main").files["README.md"].decode()


def test_a_model_without_a_card_gets_a_plain_one(hub):
    text = plain(hub, licence="mit")
    data = ModelCard(text).data
    assert (data.library_name, data.license, data.model_name) == ("lem_models", "mit", "lem-tiny")
    assert "vwap" in data.tags
    for part in ("# lem-tiny", "| longest order | 6 periods |", "from 2024-01-01", f'from_pretrained("{NAME}")'):
        assert part in text
    assert "files have no results" in text


def test_a_licence_that_the_hub_does_not_know_is_refused(hub):
    with pytest.raises(ConfigError, match=r"the Hub knows no licence 'apache2\.0'; did you mean 'apache-2\.0'"):
        plain(hub, licence="apache2.0")
    assert hub.requests == []


def test_no_licence_is_made_up(hub):
    text = plain(hub)
    assert ModelCard(text).data.license is None
    assert "| licence | none stated |" in text


def finetuned(folder: Path, **changes: object) -> Path:
    row = {"orders": 842, "mean_bps": 14.8, "std_bps": 16.2, "mean_vol": 0.375, "low_vol": 0.286, "high_vol": 0.459}
    (folder / "README.md").unlink()
    record = {
        "start": "lem-base",
        "sentence": "BETTER on the test part than lem-base.",
        "warnings": ["18 days are few to test on"],
        "data": {"content_hash": "abc123", "symbols": 1, "bars": 2208},
        "parts": {"test": {"start": "2023-09-13", "end": "2023-10-01"}},
        "test": {
            "orders": 4210,
            "net_of_costs": False,
            "policies": [{"policy": who, "min_periods": 1, "std_vol": 0.412, **row} for who in ("before", "after")],
            "fixed_duration_std_ratio": [{"policy": "twap", "ratio": 0.772, "low": 0.6, "high": 1.06}],
        },
    }
    (folder / "finetune.json").write_text(json.dumps(record | changes))
    return folder


def test_what_fine_tuning_measured_is_in_the_plain_card(hub, folder):
    lem(finetuned(folder), "--to", NAME)
    latest = hub.repository(NAME).at("main")
    text = latest.files["README.md"].decode()
    assert "| 1 | **after** | 842 | 14.80 | 16.2 | 0.3750 [0.2860, 0.4590] | 0.4120 |" in text
    assert "0.772 [0.600, 1.060] of that of twap" in text
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_value, result.metric_args["orders"]) == (0.375, 842)
    assert "BETTER on the test part than lem-base." in text
    assert "Warning: 18 days are few" in text
    assert "finetune.json" not in latest.files


def test_a_plain_card_shows_three_prices_gross_and_net(hub, folder):
    finetuned(folder)
    record = json.loads((folder / "finetune.json").read_text())
    prices = ("own", "full_vwap", "arrival")
    record["test"]["by_price"] = {
        "cost_model": "crypto",
        "costs": {"order_size": 0.01, "fee_bps": 2.0},
        "improvements": [
            {"policy": who, "min_periods": minimum, "costs": costs, "against": price, "orders": 9}
            | {"mean_bps": 10 * (costs == "gross") + at + (minimum or 0), "low_bps": -1.0, "high_bps": 1.0}
            for who in ("before", "after", "after \u2212 before")
            for minimum in (None, 1)
            for costs in ("gross", "net")
            for at, price in enumerate(prices, 1)
        ],
    }
    (folder / "finetune.json").write_text(json.dumps(record))
    lem(folder, "--to", NAME)
    text = hub.repository(NAME).at("main").files["README.md"].decode()
    assert "net of costs (cost model crypto)" in text
    (gross, net) = (line for line in text.splitlines() if "**after**" in line and "0.3750" not in line)
    assert [cell.strip() for cell in gross.split("|") if ".00" in cell] == ["+11.00", "+12.00", "+13.00"]
    assert [cell.strip() for cell in net.split("|") if ".00" in cell] == ["+1.00", "+2.00", "+3.00"]
    assert "| net, 1 % |" in text


def test_results_of_other_weights_are_not_quoted(hub, folder):
    assert "is of other weights" in lem(finetuned(folder, weights_sha256="0" * 64), "--to", NAME)
    assert "BETTER" not in hub.repository(NAME).at("main").files["README.md"].decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": {}}, "test.orders: Field required"),
        ({"test": 5}, "test: must hold settings, not 5"),
        ({"sentence": ["BETTER"]}, "sentence: Input should be a valid string"),
        ({"warnings": 5}, "warnings: Input should be a valid list"),
        ({"parts": {}}, "KeyError: 'test'"),
        ({"data": {"content_hash": "a", "symbols": {}, "bars": 1}}, "data.symbols: Input should be a valid integer"),
    ],
)
def test_a_damaged_file_of_results_is_refused(hub, folder, changes, message):
    with pytest.raises(ConfigError, match=rf"finetune\.json: {message}") as error:
        lem(finetuned(folder, **changes), "--to", NAME)
    assert "\n" not in str(error.value)
    assert hub.requests == []


HOSTILE_JSON = {
    "deep lists": "[" * 200_000,
    "deep objects": '{"a":' * 200_000,
    "a long number": '{"a": ' + "1" * 1_000_000 + "}",
    "no number": '{"a": NaN}',
    "a list": "[1]",
    "a key twice": '{"a": 1, "a": 2}',
    "no text": "\udcff",
}


@pytest.mark.parametrize("name", ["finetune.json", "metrics.json"])
@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_json_is_one_line(hub, folder, name, text):
    (folder / "README.md").unlink()
    (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=rf"^cannot read .*{name}: ") as error:
        LEMModel.from_pretrained(folder).push_to_hub(NAME, eval_data={"dow-daily": "desk/bench"})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert hub.requests == []


@pytest.mark.parametrize("changes", [{"evaluations": 5}, {"evaluations": [5]}, {"evaluations": [{"market": []}]}, {}])
def test_metrics_of_wrong_types_are_one_line(hub, folder, changes):
    weights = weights_hash(folder)
    (folder / "metrics.json").write_text(json.dumps({"weights_sha256": weights, **changes}))
    with pytest.raises(ConfigError, match=r"^cannot read .*metrics\.json: ") as error:
        LEMModel.from_pretrained(folder).push_to_hub(NAME, eval_data={"dow-daily": "desk/bench"})
    assert "\n" not in str(error.value)


# --- evaluation results ----------------------------------------------------------------------------------------------


def test_evaluation_results_name_the_data_set_that_was_given(hub):
    commit = "a" * 40
    output = lem(BUNDLED, "--to", NAME, "--eval-data", f"crypto-hourly=desk/bench@{commit}")
    entries = parse_eval_result_entries(
        yaml.safe_load(hub.repository(NAME).at("main").files[".eval_results/crypto-hourly.yaml"])
    )
    headline = list_models()[list_models().index(BUNDLED)].headline
    task = f"improvement_min{headline.min_periods}_of_{headline.max_periods}"
    (entry,) = [entry for entry in entries if entry.task_id == task]
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.dataset_revision, entry.value) == ("desk/bench", commit, headline.mean_vol)
    assert "95 % interval" in entry.notes
    assert "no .eval_results" not in output


def test_evaluation_results_may_be_sent_from_python_too(hub, saved):
    LEMModel.from_pretrained("lem-dow-daily").push_to_hub(NAME, eval_data={"dow-daily": "desk/bench"})
    (entry, *_) = yaml.safe_load(hub.repository(NAME).at("main").files[".eval_results/dow-daily.yaml"])
    assert entry["dataset"]["id"] == "desk/bench"
    with pytest.raises(ConfigError, match=r"has no metrics\.json"):
        LEMModel.from_pretrained(saved).push_to_hub(NAME, eval_data={"dow-daily": "desk/bench"})


def test_without_a_data_set_there_are_none_and_the_reason_is_said(hub):
    output = lem(BUNDLED, "--to", NAME)
    assert "no .eval_results for crypto-hourly: no benchmark data set on the Hub is named for it" in output
    assert not [path for path in hub.repository(NAME).at("main").files if path.startswith(".eval")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("crypto-hourly", "MARKET=org/data"),
        ("dow-daily=desk/bench", "not measured on dow-daily"),
        ("x=a b", "org/data"),
    ],
)
def test_wrong_evaluation_data_are_refused(hub, given, message):
    with pytest.raises(ConfigError, match=message):
        lem(BUNDLED, "--to", NAME, "--eval-data", given)
    assert hub.requests == []


# --- plan and destination --------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(hub, folder):
    output = lem(folder, "--to", NAME, "--dry-run", "--private")
    assert (f"repository: {hub.endpoint}/{NAME} (to be made, private)") in output
    assert hub.repositories == {}
    hub.create(NAME, {"README.md": b"# Theirs", "config.json": (folder / "config.json").read_bytes(), "x.txt": b"x"})
    before = hub.repository(NAME).at("main")
    hub.requests.clear()
    lines = lem(folder, "--to", NAME, "--dry-run", "--branch", "candidate").splitlines()
    assert {request.method for request in hub.requests} == {"GET"}
    assert hub.repository(NAME).at("main") is before
    states = {line.split()[1]: line.split()[0] for line in lines if "sha256" in line}
    assert states == {
        "config.json": "same",
        "model.safetensors": "new",
        "README.md": "kept",
        "figures/gain.png": "kept",
    }
    (weights,) = [line for line in lines if "model.safetensors" in line]
    contents = contents_of(folder, ModelUpload(repo_id=NAME))
    assert weights.endswith(f"{len(contents.files['model.safetensors']):,} bytes  sha256 {weights_hash(folder)}")
    assert "stays   x.txt" in lines
    assert "branch: candidate (to be made)" in lines
    assert f"builds on commit: {before.sha}" in lines
    assert lines[-1] == "dry run: nothing was sent"


def test_a_dry_run_works_without_a_network(hub, folder):
    hub.close()
    output = lem(folder, "--to", NAME, "--dry-run")
    assert "the content of the repository is not known" in output
    assert "unknown model.safetensors" in output


def test_the_plan_is_what_is_done(hub, folder):
    planned = {
        line.split()[1] for line in lem(folder, "--to", NAME, "--dry-run").splitlines() if line.startswith("new")
    }
    lem(folder, "--to", NAME)
    assert hub.repository(NAME).at("main").changed == planned
    assert "new " not in lem(folder, "--to", NAME)
    assert len(hub.repository(NAME).history()) == 2


def test_a_public_repository_is_no_place_for_a_private_model(hub, folder):
    hub.create(NAME)
    with pytest.raises(HubError, match="exists and is public"):
        lem(folder, "--to", NAME, "--private")
    assert len(hub.repository(NAME).history()) == 1


def test_a_pull_request_is_what_its_url_says(hub, folder):
    hub.create(NAME)
    assert f"published: {hub.endpoint}/{NAME}/discussions/1" in lem(folder, "--to", NAME, "--create-pr")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("--to", "no-slash"), UnknownNameError, "org/name"),
        (("--to", "a/../b"), UnknownNameError, "org/name"),
        (("--to", NAME, "--create-pr", "--branch", "x"), ConfigError, "pull request goes to the main branch"),
        (("--to", NAME, "--message", " "), ConfigError, "commit_message is empty"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(hub, folder, arguments, kind, message):
    with pytest.raises(kind, match=message):
        lem(folder, *arguments)
    assert hub.requests == []


def test_a_model_of_the_hub_is_not_published_again_without_its_card(hub):
    with pytest.raises(ConfigError, match="hf download desk/other"):
        lem("desk/other", "--to", NAME)


def test_a_destination_does_not_show_its_token():
    assert "hf_secret" not in repr(ModelUpload(repo_id=NAME, token="hf_secret"))
