"""Training that pushes its best checkpoint: what arrives, when, and what happens when it does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.modeling.model import LEMModel
from lem_models.training.push import PushToHub
from lem_models.training.recipe import HubConfig, Recipe
from tests.helpers import random_model, tiny_config
from tests.hub.faults import Fault
from tests.training.tiny import BARS, TINY, tiny_recipe, trained

NAME = "desk/lem-run"
BRANCH = "training"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the client's own
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
]


@pytest.fixture(autouse=True)
def _token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)


def run(folder: Path, **changes) -> LEMModel:
    recipe = tiny_recipe(hub=HubConfig(repo_id=NAME), **changes)
    return trained(recipe, out=folder, data=BARS, devices=1)


def same(a: LEMModel, b: LEMModel) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return a.config == b.config and all(torch.equal(ours[key], value) for key, value in theirs.items())


def pulled(folder: Path) -> LEMModel:
    return LEMModel.from_pretrained(NAME, revision=BRANCH, cache_dir=folder)


class Scripted:
    """A run whose validations have the scores that a test gives them; the real trainer is not needed for that."""

    def __init__(self, folder: Path, push: PushToHub) -> None:
        self.push, self.folder, self.step = push, folder, 0
        self.best = push._checkpoint = ModelCheckpoint(folder, monitor="val_utility", mode="max")
        self.trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, callbacks=[self.best, push])
        self.trainer.state.fn = L.pytorch.trainer.states.TrainerFn.FITTING
        self.model = random_model(tiny_config())

    def validate(self, score: float) -> None:
        """One validation; a better score writes a checkpoint with weights of its own."""
        self.step += 1
        if self.best.best_model_score is None or score > float(self.best.best_model_score):
            weights = random_model(tiny_config(), seed=self.step).state_dict()
            torch.save({"state_dict": weights, "global_step": self.step}, self.folder / "best.ckpt")
            self.best.best_model_score = torch.tensor(score)
            self.best.best_model_path = str(self.folder / "best.ckpt")
        self.push.on_validation_end(self.trainer, self.model)
        self.push.on_train_epoch_end(self.trainer, self.model)

    def end(self) -> None:
        """End of the training."""
        self.push.on_fit_end(self.trainer, self.model)


@pytest.fixture
def scripted(tmp_path):
    def make(**settings) -> Scripted:
        (tmp_path / "run").mkdir(exist_ok=True)
        return Scripted(tmp_path / "run", PushToHub(NAME, **settings))

    return make


def messages(hub, branch: str = BRANCH) -> list[str]:
    return [commit.message for commit in hub.repository(NAME).history(branch)][:-1]


# --- a real run ------------------------------------------------------------------------------------------------------


def test_the_best_model_of_a_run_is_on_the_branch_and_the_main_one_is_untouched(hub, tmp_path):
    model = run(tmp_path / "run")
    repository = hub.repository(NAME)
    assert repository.private
    assert len(repository.history("main")) == 1
    assert repository.at(BRANCH).files.keys() >= {"config.json", "model.safetensors", "README.md"}
    assert b"library_name: lem_models" in repository.at(BRANCH).files["README.md"]
    assert not [path for path in repository.at(BRANCH).files if path.endswith((".ckpt", "run.json"))]
    assert messages(hub)[0].startswith("Step ")
    assert "val_utility" in messages(hub)[0]
    assert same(pulled(tmp_path / "cache"), model)
    assert same(LEMModel.from_pretrained(tmp_path / "run" / "checkpoints" / "model"), model)


def test_a_hub_that_is_down_costs_no_training(hub, tmp_path, waits):
    expected = trained(tiny_recipe(), out=tmp_path / "alone", data=BARS, devices=1)
    hub.close()
    with pytest.warns(UserWarning, match="nothing was pushed to 'desk/lem-run'"):
        model = run(tmp_path / "run")
    assert same(model, expected)
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "model"):
        assert same(LEMModel.from_pretrained(folder), expected)


def test_no_token_is_written_anywhere(hub, tmp_path):
    run(tmp_path / "run")
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if hub.token.encode() in path.read_bytes()] == []


def test_the_command_pushes_too(hub, tmp_path):
    bars, recipe = tmp_path / "bars.parquet", tmp_path / "recipe.yaml"
    BARS.write(bars)
    recipe.write_text(yaml.safe_dump(TINY))
    arguments = ["train", "--config", recipe, "--data", bars, "--out", tmp_path / "run", "--accelerator", "cpu"]
    arguments += ["--devices", "1", "--no-progress", "--push-to", NAME, "--push-branch", "candidate"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    assert messages(hub, "candidate")


# --- when it pushes --------------------------------------------------------------------------------------------------


def test_only_a_better_checkpoint_is_pushed(hub, scripted):
    play = scripted()
    for score in (0.1, 0.05, 0.3, 0.3, 0.2):
        play.validate(score)
    play.end()
    assert [message.split()[-1] for message in messages(hub)] == ["0.3", "0.1"]
    assert play.push.url.endswith(hub.repository(NAME).at(BRANCH).sha)


def test_pushes_keep_a_distance_and_the_end_pushes_what_is_left(hub, scripted):
    play = scripted(every=3)
    for score in (0.1, 0.2, 0.3, 0.4, 0.5):
        play.validate(score)
    assert [message.split()[-1] for message in messages(hub)] == ["0.4", "0.1"]
    play.end()
    assert messages(hub)[0].split()[-1] == "0.5"


def test_what_does_not_beat_the_start_is_not_pushed(hub, scripted):
    play = scripted(to_beat=0.3)
    play.validate(0.2)
    play.end()
    assert hub.repositories == {}
    play.validate(0.4)
    assert len(messages(hub)) == 1


def test_a_push_that_fails_is_made_up_for_at_the_next_validation(hub, scripted, waits):
    play = scripted()
    fault = hub.faults.add(Fault("status", "/commit/", status=500))
    with pytest.warns(UserWarning, match="nothing was pushed") as caught:
        play.validate(0.1)
    assert hub.token not in "".join(str(one.message) for one in caught)
    assert messages(hub) == []
    assert same(LEMModel.from_pretrained(play.folder / "model"), random_model(tiny_config(), seed=1))
    fault.times = 0
    play.validate(0.05)  # no better one, but the better one is not there yet
    assert [message.split()[-1] for message in messages(hub)] == ["0.1"]


def test_the_end_tries_several_times(hub, scripted, waits):
    play = scripted()
    hub.faults.add(Fault("status", "/commit/", status=403, times=2))
    with pytest.warns(UserWarning, match="the token does not allow it"):
        play.validate(0.1)
    with pytest.warns(UserWarning, match="the token does not allow it"):
        play.end()
    assert len(messages(hub)) == 1
    assert 5.0 in waits


def test_a_disk_that_is_full_is_a_warning(hub, scripted, monkeypatch):
    play = scripted()
    monkeypatch.setattr(LEMModel, "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.warns(UserWarning, match="No space left"):
        play.validate(0.1)
    assert hub.repositories == {}


def test_a_push_that_hangs_is_not_waited_for(hub, scripted):
    hub.create(NAME, private=True)
    play = scripted(patience=0.05)
    with hub._lock:
        for score in (0.1, 0.2):
            with pytest.warns(UserWarning, match=r"takes longer than 0\.05 seconds"):
                play.validate(score)
    play.push._patience = 30
    play.end()
    assert messages(hub)[0].split()[-1] == "0.2"


def test_the_end_waits_once_for_a_push_that_hangs(hub, scripted, waits):
    hub.create(NAME, private=True)
    play = scripted(patience=0.05)
    with hub._lock:
        with pytest.warns(UserWarning, match="takes longer"):
            play.validate(0.1)
        with pytest.warns(UserWarning, match="takes longer") as caught:
            play.end()
    assert len(caught) == 1
    assert waits == []
    play.push._thread.join(30)
    assert len(messages(hub)) == 1


def test_a_card_beside_the_model_is_sent(hub, scripted):
    play = scripted()
    (play.folder / "README.md").write_bytes(b"---\nlicense: mit\n---\n# By hand\n")
    play.validate(0.1)
    assert hub.repository(NAME).at(BRANCH).files["README.md"].endswith(b"# By hand\n")


def test_a_resumed_run_does_not_push_again(hub, scripted):
    play = scripted()
    play.validate(0.1)
    state = play.push.state_dict()
    assert hub.token not in str(state)
    again = PushToHub(NAME)
    again.load_state_dict(state)
    play.push = again
    play.push._checkpoint = play.best
    hub.requests.clear()
    play.end()
    assert hub.requests == []


def test_only_the_first_process_pushes(hub, scripted, monkeypatch):
    play = scripted()
    monkeypatch.setattr(type(play.trainer), "is_global_zero", False)
    play.validate(0.1)
    play.end()
    assert hub.requests == []


# --- settings --------------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused_before_training():
    with pytest.raises(UnknownNameError, match="org/name"):
        PushToHub("no-slash")
    with pytest.raises(ConfigError, match="at least 1"):
        PushToHub(NAME, every=0)
    with pytest.raises(ConfigError, match=r"hub\.repo_id: .*org/name"):
        Recipe.of(TINY | {"hub": {"repo_id": "x"}}, name="recipe.yaml", folder=Path())
    with pytest.raises(ConfigError, match=r"hub\.token"):
        Recipe.of(TINY | {"hub": {"repo_id": NAME, "token": "hf_x"}}, name="recipe.yaml", folder=Path())
    with pytest.raises(ConfigError, match="needs a repository"):
        tiny_recipe().pushed_to(None, "branch")
    with pytest.raises(ConfigError, match="org/name"):
        tiny_recipe().pushed_to("x")


def test_the_command_goes_before_the_recipe():
    recipe = tiny_recipe(hub=HubConfig(repo_id=NAME, every=3)).pushed_to("desk/other")
    assert recipe.hub == HubConfig(repo_id="desk/other", every=3)
    assert tiny_recipe().pushed_to(None).hub is None


def test_nothing_is_warned_of_when_all_is_well(hub, scripted):
    play = scripted()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*pushed.*")
        play.validate(0.1)
        play.end()
    assert len(messages(hub)) == 1
