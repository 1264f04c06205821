"""A run resumes as it began or not at all, and its folder never holds facts beside another model."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.modeling.model import LEMModel
from lem_models.training.checkpoint import RunStamp, stamp_of
from lem_models.training.folder import RunFolder
from tests.training.tiny import BARS, TINY, Watched, tiny_recipe, trained

LENGTH = {"steps": 6, "steps_per_epoch": 3}
RESULT = {"config.json", "model.safetensors", "run.json"}


def _train(out, *, data=BARS, **settings):
    changes = {key: settings.pop(key) for key in list(settings) if key in ("trainer", "optimizer", "model", "name")}
    changes = {"trainer": LENGTH} | changes
    if "days" in settings:
        changes["data"] = settings.pop("days")
    return trained(tiny_recipe(**changes), out=out, data=data, devices=1, **settings)


def _files(out):
    return {path.name for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def power_cut(tmp_path_factory):
    """The folder of a run that a power cut ended in its second epoch."""
    out = tmp_path_factory.mktemp("power-cut") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lem_models.training.run.MarketBatches", Watched)
        patch.setattr(Watched, "seen", [])
        patch.setattr(Watched, "stop_at", 5)
        with pytest.raises(RuntimeError, match="power cut"):
            _train(out)
    return out


@pytest.fixture
def broken(power_cut, tmp_path, monkeypatch):
    """A copy of that folder."""
    monkeypatch.setattr("lem_models.training.run.MarketBatches", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    return Path(shutil.copytree(power_cut, tmp_path / "run"))


# --- the same run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"optimizer": {"learning_rate": 0.1, "weight_decay": 0.3}},
            ["optimizer.learning_rate 0.002 -> 0.1", "optimizer.weight_decay 0.01 -> 0.3"],
        ),
        ({"days": {"train_end": "2024-01-27"}}, ["data.train_end '2024-01-28' -> '2024-01-27'"]),
        ({"days": {"validation_end": "2024-02-13"}}, ["data.validation_end"]),
        ({"model": {"hidden_size": 16}}, ["model.hidden_size 8 -> 16"]),
        ({"trainer": {**LENGTH, "accumulate": 2}}, ["trainer.accumulate 1 -> 2"]),
        ({"trainer": {**LENGTH, "patience": 3}}, ["trainer.patience"]),
        ({"data": BARS.between(end="2024-02-12")}, ["content of the bars of data "]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_another_recipe_or_other_bars_are_refused_and_named(broken, changes, named):
    before = {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="a resumed run keeps its recipe and its bars") as error:
        _train(broken, resume="auto", **changes)
    for text in named:
        assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).count(" -> ") == len(named)
    assert {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()} == before


def test_several_markets_are_numbered_as_in_the_recipe():
    (market,) = tiny_recipe().data
    recipe = tiny_recipe().model_copy(update={"data": (market, market)})
    other = recipe.model_copy(update={"data": (market, market.model_copy(update={"stretch": 20}))})
    stamp = RunStamp()
    stamp.stamp = stamp_of(recipe, ["a", "b"], None)
    content = {"run": stamp_of(other, ["a", "c"], None), "optimizer_states": [1], "global_step": 0}
    with pytest.raises(ConfigError, match=r"data\.1\.stretch 20 -> 24; content of the bars of data\.1 'c' -> 'b'"):
        stamp.check(Path("last.ckpt"), content, steps=1)


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"trainer": {**LENGTH, "precision": "bf16-mixed"}}, {"trainer": {**LENGTH, "steps": 8}}],
    ids=str,
)
def test_what_changes_nothing_that_is_learnt_may_change(broken, changes):
    model = _train(broken, resume="auto", **changes)
    assert Watched.seen == list(range(3, changes.get("trainer", LENGTH)["steps"]))
    assert model.is_trained
    assert _files(broken) == RESULT


def test_more_steps_have_the_schedule_of_the_longer_run(broken):
    """The learning rate is one of the longer run, not that of the shorter one extended."""
    _train(broken, resume="auto", trainer={**LENGTH, "steps": 30})
    (rate,) = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)["lr_schedulers"][0]["_last_lr"]
    assert rate == pytest.approx(2e-5)
    log = (broken / "logs" / "csv-2" / "metrics.csv").read_text()
    assert "lr-AdamW" in log


def test_fewer_steps_than_were_taken_are_refused(broken):
    with pytest.raises(ConfigError, match=r"has taken 3 steps, more than trainer\.steps \(2\)"):
        _train(broken, resume="auto", trainer={**LENGTH, "steps": 2})


def test_a_run_that_has_ended_gives_the_same_model_again(broken):
    weights = [_train(broken, resume=resume).state_dict() for resume in ("auto", broken)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_resumed_run_warns_of_nothing(broken):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _train(broken, resume="auto")
    assert [str(one.message) for one in caught if "lightning" in one.filename] == []


def test_a_run_that_was_moved_remembers_its_best_checkpoint(broken, tmp_path):
    broken.rename(tmp_path / "moved")
    kept = torch.load(tmp_path / "moved" / "checkpoints" / "best.ckpt", weights_only=True)
    for state in kept["callbacks"].values():
        if state.get("monitor") == "val_utility" and "best_k_models" in state:
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(9.0))
            state["best_model_score"] = torch.tensor(9.0)
    torch.save(kept, tmp_path / "moved" / "checkpoints" / "last.ckpt")
    model = _train(tmp_path / "moved", resume="auto")
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept["state_dict"][name])  # nothing after it was better


def test_a_checkpoint_elsewhere_is_refused(broken, tmp_path):
    inside = broken / "checkpoints" / "last.ckpt"
    with pytest.raises(ConfigError, match=f"pass --out {broken}"):
        _train(tmp_path / "other", resume=inside)
    (tmp_path / "stray.ckpt").write_bytes(inside.read_bytes())
    with pytest.raises(ConfigError, match="copy the whole folder"):
        _train(broken, resume=tmp_path / "stray.ckpt")
    (broken / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match="the best checkpoint so far: copy it there"):
        _train(broken, resume="auto")
    for nothing in ("auto", tmp_path, tmp_path / "nothing.ckpt"):
        with pytest.raises(ConfigError, match="there is no checkpoint"):
            _train(tmp_path / "empty", resume=nothing)


def _without(content, *names):
    return {name: value for name, value in content.items() if name not in names}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: _without(c, "run"), "does not contain the recipe"),
        (lambda c: {**c, "run": [1]}, "does not contain the recipe"),
        (lambda c: {**c, "run": _without(c["run"], "seed")}, r"seed \(not set\) -> 1"),
        (lambda c: {**c, "run": {**c["run"], "a\nb": 1}}, r"'a\\nb' 1 -> \(not set\)"),
        (lambda c: {**c, "global_step": "x"}, "its global_step is not a number of steps"),
        (lambda c: {**c, "state_dict": {}}, "cannot be resumed"),
        (lambda c: {**c, "state_dict": {k: v[:0] for k, v in c["state_dict"].items()}}, "cannot be resumed"),
        (lambda c: {**c, "optimizer_states": []}, "lacks the state of the optimiser"),
        (lambda c: {**c, "optimizer_states": [{"state": {}, "param_groups": []}]}, "cannot be resumed"),
        (lambda c: {**c, "lr_schedulers": [5]}, "cannot be resumed"),
        (lambda c: {**c, "loops": {"fit_loop": 5}}, "cannot be resumed"),
        (lambda c: {**c, "callbacks": dict.fromkeys(c["callbacks"], 5)}, "cannot be resumed"),
        (lambda c: _without(c, "pytorch-lightning_version"), "cannot be resumed"),
        (lambda c: {**c, "ExecutionDataModule": {}}, "cannot be resumed"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_line(broken, damage, message):
    path = broken / "checkpoints" / "last.ckpt"
    torch.save(damage(torch.load(path, weights_only=True)), path)
    with pytest.raises(ConfigError, match=message) as error:
        _train(broken, resume=path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert not (broken / "run.json").exists()


# --- the folder ------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_asked_about(tmp_path, broken):
    for out in (broken, tmp_path / "model"):
        if out != broken:
            LEMModel.from_pretrained("lem-dow-daily").save_pretrained(out)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(ConfigError, match=r"already holds a run .*--resume auto.*--overwrite"):
            _train(out)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="leave one of the two out"):
        _train(broken, resume="auto", overwrite=True)


def test_an_overwritten_run_is_gone_before_the_new_one_trains(tmp_path, monkeypatch, broken):
    _train(broken, resume="auto")
    (broken / "finetune.json").write_text("{}")
    (broken / "checkpoints" / "README.md").write_text("a card")
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(Watched, "stop_at", 2)
    with pytest.raises(RuntimeError, match="power cut"):
        _train(broken, overwrite=True)
    assert _files(broken) == set()
    assert [path.name for path in (broken / "checkpoints").iterdir()] == ["README.md"]
    monkeypatch.setattr(Watched, "stop_at", None)
    _train(broken)
    assert _files(broken) == RESULT


def test_a_refusal_leaves_the_overwritten_run(broken):
    _train(broken, resume="auto")
    with pytest.raises(ConfigError, match="horizon"):
        _train(broken, overwrite=True, days={"horizon": 100})
    assert _files(broken) == RESULT


@pytest.mark.parametrize("at", ["save_pretrained", "to_json"])
def test_no_record_lies_beside_another_model_wherever_the_end_breaks_off(broken, monkeypatch, at):
    _train(broken, resume="auto")
    old = {name: (broken / name).read_bytes() for name in RESULT}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    where = LEMModel if at == "save_pretrained" else "lem_models.training.run"
    if at == "save_pretrained":
        monkeypatch.setattr(where, at, full)
    else:
        monkeypatch.setattr(f"{where}.{at}", full)
    with pytest.raises(OSError, match="No space left"):
        _train(broken, resume="auto", trainer={**LENGTH, "steps": 9})
    assert "run.json" not in _files(broken)
    if at == "save_pretrained":
        assert (broken / "model.safetensors").read_bytes() == old["model.safetensors"]
    monkeypatch.undo()
    _train(broken, resume="auto", trainer={**LENGTH, "steps": 9})
    assert json.loads((broken / "run.json").read_text())["recipe"]["trainer"]["steps"] == 9


def test_the_folder_of_the_start_is_left_alone(tmp_path):
    LEMModel.from_pretrained("lem-dow-daily").save_pretrained(tmp_path / "start")
    start = LEMModel.from_pretrained(tmp_path / "start")
    for settings in ({"overwrite": True}, {"overwrite": True, "start": start}):
        recipe = tiny_recipe().model_copy(update={"finetune": None})
        if "start" not in settings:
            from lem_models.training.recipe import FinetuneConfig

            recipe = recipe.model_copy(update={"finetune": FinetuneConfig(start=str(tmp_path / "start"))})
        with pytest.raises(ConfigError, match="is the folder of the start"):
            trained(recipe, out=tmp_path / "start", data=BARS, **settings)
    assert LEMModel.from_pretrained(tmp_path / "start").is_trained


def test_the_folder_of_a_checkpoint(tmp_path):
    assert RunFolder.of("auto") is None
    assert RunFolder.of("x.ckpt") is None
    assert RunFolder.of(tmp_path) == RunFolder(tmp_path)
    assert RunFolder.of(tmp_path / "checkpoints" / "last.ckpt") == RunFolder(tmp_path)


# --- what is no model ------------------------------------------------------------------------------------------------


def test_a_run_without_a_step_that_trains_saves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(LEMModel, "_note_step", lambda *_: None)  # as where a scaler skips every step
    with pytest.raises(UntrainedHeadError, match="no step has trained the head"):
        _train(tmp_path / "run")
    assert _files(tmp_path / "run") == set()


# --- on the command line ---------------------------------------------------------------------------------------------


def test_the_command_resumes_a_folder_or_a_checkpoint_without_being_told_the_folder_again(broken, tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**TINY, "trainer": LENGTH}))
    arguments = ["train", "--config", tmp_path / "recipe.yaml", "--data", tmp_path / "bars.parquet"]
    arguments += ["--accelerator", "cpu", "--devices", "1", "--no-progress"]

    def lem(*more):
        return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *more)])

    assert "already holds a run" in str(lem("--out", broken).exception)
    for resume in (broken, broken / "checkpoints" / "last.ckpt", "auto"):
        result = lem("--resume", resume, *(("--out", broken) if resume == "auto" else ()))
        assert result.exit_code == 0, result.exception
        assert f"model: {broken.resolve()}" in result.output
        assert _files(broken) == RESULT
    assert isinstance(lem("--resume", "auto", "--out", tmp_path / "nothing").exception, ConfigError)
    assert "one of the two" in str(lem("--resume", "auto", "--overwrite", "--out", broken).exception)
    assert lem("--out", broken, "--overwrite").exit_code == 0
