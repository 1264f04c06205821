"""Model folders: found by name, read strictly, never trusted."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lem_models.errors import ConfigError, LEMError, UnknownNameError, WeightsError
from lem_models.hub.models.folder import read_weights
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.resolve import resolve
from lem_models.hub.models.save import write_model
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.config import ConfigFile
from lem_models.modeling.model import LEMModel
from tests.helpers import random_model, tiny_config


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return random_model(tiny_config(features=("range",))).save_pretrained(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def _edit(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def _set(key, value):
    def change(weights):
        weights[key] = value

    return change


def _configure(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


# --- damaged folders: one of each kind on every system; all of them in tests/security/corpus.py ----------------------


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_truncate, WeightsError, "damaged"),
        (lambda f: _edit(f, lambda w: w.pop("head.output.bias")), WeightsError, "missing .'head.output.bias'"),
        (lambda f: _edit(f, _set("head.output.bias", torch.full((3,), torch.nan))), WeightsError, "not finite"),
        (lambda f: _configure(f, head="pickle.loads"), ConfigError, "unknown head"),
        (lambda f: _configure(f, hidden_size=512, tkan_layers=16), WeightsError, "does not fit the configuration"),
    ],
    ids=["truncated", "a tensor missing", "not a number", "unknown head", "another architecture"],
)
def test_a_damaged_folder_is_refused_with_a_typed_error(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        LEMModel.from_pretrained(folder)


def test_loading_leaves_the_random_numbers_alone(folder):
    state = torch.random.get_rng_state()
    LEMModel.from_pretrained(folder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_package_may_be_installed_as_links_and_a_folder_may_be_one(folder, tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "lem-linked"
    installed.mkdir(parents=True)
    for file in folder.iterdir():
        (installed / file.name).symlink_to(file)
    with pytest.raises(ConfigError, match="leads out of its folder"):
        LEMModel.from_pretrained(installed)
    monkeypatch.setattr("lem_models.hub.models.registry.PRETRAINED", installed.parent)
    assert LEMModel.from_pretrained("lem-linked").is_trained
    (tmp_path / "link").symlink_to(folder)
    assert LEMModel.from_pretrained(tmp_path / "link").is_trained


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_itself(folder):
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path):
    with pytest.raises(UnknownNameError, match=r"lacks config.json and model.safetensors"):
        resolve(tmp_path)


@pytest.mark.parametrize("name", list_models())
def test_bundled_names_need_no_network(name):
    assert resolve(name, local_files_only=True) == bundled_folder(name)
    assert (bundled_folder(name) / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["lem-crypto-hourli", "a/b/c", "../secret", "/etc", "~/model", "a\\b/c", ""])
def test_other_names_are_unknown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError):
        resolve(name)


def test_a_hub_id_that_is_not_cached_says_what_can_be_done(tmp_path):
    with pytest.raises(LEMError, match="cannot get 'org/name' from the Hub"):
        resolve("org/name", cache_dir=tmp_path, local_files_only=True)


# --- written ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(tmp_path):
    weights, config = {"a": torch.randn(3, 2), "b.c": torch.arange(4)}, tiny_config()
    folder = write_model(tmp_path / "new" / "folder", config, weights)
    with (folder / "model.safetensors").open("rb") as file:
        again = read_weights(file, weights)
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    assert ConfigFile.read(folder / "config.json").config == config
