"""lem info: everything about a model."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from lem_models import LEMModel, list_models
from lem_models.cli.app import app
from lem_models.cli.commands.models.training_days import training_data, validation_days
from lem_models.errors import UnknownNameError, WeightsError
from lem_models.hub.models.description import describe_model
from lem_models.hub.models.registry import bundled_folder, weights_hash

runner = CliRunner()


def info(*arguments):
    return runner.invoke(app, ["info", *map(str, arguments)])


@pytest.mark.parametrize("name", list_models())
def test_every_bundled_model_is_described(name):
    content = json.loads(info(name, "--json").stdout)
    model = LEMModel.from_pretrained(name)
    assert content["weights_sha256"] == weights_hash(bundled_folder(name))
    assert content["config"]["horizon"] == content["orders"]["max_periods"] == model.horizon
    parameters = content["parameters"]
    assert parameters["total"] == sum(each.numel() for each in model.parameters())
    assert parameters["total"] == parameters["backbone"] + parameters["head"]
    assert content["licence"] == "apache-2.0"
    assert content["metrics"]["weights_sha256"] == content["weights_sha256"]
    assert content["results"]
    assert all(isinstance(row["value"], float) for row in content["results"])
    # The last day of the validation is the first day that the model has not seen.
    ends = {each["validation_end"] for each in content["training"]["data"]}
    assert ends <= set(content["training"]["unseen_from"].values())


def test_in_words_no_figure_is_cut():
    shown = info("lem-crypto-hourly").stdout
    content = json.loads(info("lem-crypto-hourly", "--json").stdout)
    assert "\u2026" not in shown
    for text in (content["weights_sha256"], "1 to 24", "vwap, twap, full_vwap, arrival", "apache-2.0", "2024-01-01"):
        assert text in shown
    for row in content["results"]:
        assert row["name"] in shown


def test_a_folder_without_a_card_is_described_by_its_files(tmp_path):
    LEMModel.from_pretrained("lem-base").save_pretrained(tmp_path / "mine")
    for file in ("README.md", "metrics.json"):
        (tmp_path / "mine" / file).unlink(missing_ok=True)
    described = describe_model(tmp_path / "mine")
    assert (described.kind, described.licence, described.results, described.metrics) == ("folder", None, (), {})
    assert any("no licence" in text for text in described.notes)
    shown = info(tmp_path / "mine")
    assert shown.exit_code == 0
    assert "not stated" in shown.stdout
    assert "licence" in shown.stderr


def test_a_card_of_a_stranger_is_only_text(tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(bundled_folder("lem-base"), folder)
    result = '{dataset: {name: "[red]x\\nforged"}, metrics: [{type: t, value: [1], name: 7}]}'
    index = f"model-index: [{{results: [{result}, 3]}}, no]"
    (folder / "README.md").write_text(f"---\nlicense: [a]\n{index}\n---\n", encoding="utf-8")
    shown = info(folder)
    assert shown.exit_code == 0, shown.output
    assert "[red]x" in shown.stdout
    (folder / "README.md").write_text("---\n- a\n---\n", encoding="utf-8")
    assert "the card cannot be read" in info(folder).stderr


def test_damaged_weights_and_unknown_names_are_refused(tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(bundled_folder("lem-base"), folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert isinstance(info(folder).exception, WeightsError)
    unknown = info("lem-cripto-hourly")
    assert isinstance(unknown.exception, UnknownNameError)
    assert "lem-crypto-hourly" in str(unknown.exception)


def test_days_of_training_come_from_the_recipe_or_the_record_of_the_run(tmp_path):
    model = LEMModel.from_pretrained("lem-dow-daily")
    assert validation_days(model, "1D") == ("2017-01-01", "2019-01-01")
    record = {"recipe": {"data": [{"train_end": "2020-01-01", "validation_end": "2020-07-01", "held_out": ["A"]}]}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (data,) = training_data(tmp_path)
    assert (data["train_end"], data["validation_end"], data["held_out"], data["file"]) == (
        "2020-01-01",
        "2020-07-01",
        ["A"],
        None,
    )
    assert training_data(tmp_path / "nothing") == []
