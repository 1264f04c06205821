"""Model folders: found by name, read strictly, never trusted."""

import json
import shutil
import struct

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


def _raw(folder, change):
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))


def _header(folder, change):
    """Rewrite the JSON header of the weights."""
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text = change(header)
    text = (json.dumps(header) if text is None else text).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


FIRST = "head.output.bias"


def _set(key, value):
    def change(weights):
        weights[key] = value

    return change


# --- damaged weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _raw(f, lambda data: b""), "truncated"),
        (lambda f: _raw(f, lambda data: data[:5]), "truncated"),
        (lambda f: _raw(f, lambda data: data[:200]), "header claims|cannot read"),
        (lambda f: _raw(f, lambda data: data[:-40]), "damaged"),
        (lambda f: _raw(f, lambda data: data + b"more"), "damaged"),
        (lambda f: _raw(f, lambda data: b"\xff" * 8 + data[8:]), "header claims"),
        (lambda f: _raw(f, lambda data: struct.pack("<Q", 10**6) + data[8:]), "header claims"),
        (lambda f: _raw(f, lambda data: b"\x80\x04\x95" + data[3:]), "header claims"),
        (lambda f: _raw(f, lambda data: data[:8] + b"\x00" * 20 + data[28:]), "cannot read"),
        (lambda f: _header(f, lambda h: "[]"), "not an object"),
        (lambda f: _header(f, lambda h: "[" * 50_000), "cannot read"),
        (lambda f: _header(f, lambda h: h[FIRST].update(dtype=[])), FIRST),
        (lambda f: _header(f, lambda h: h[FIRST].update(dtype="F16")), FIRST),
        (lambda f: _header(f, lambda h: h[FIRST].update(shape="two")), "is not a dtype, a shape"),
        (lambda f: _header(f, lambda h: h[FIRST].update(shape=[10**12])), FIRST),
        (lambda f: _header(f, lambda h: h[FIRST].update(data_offsets=[0, 10**9])), "damaged"),
        (lambda f: _header(f, lambda h: h.update({FIRST: 3})), "is not a dtype, a shape"),
        (lambda f: _edit(f, lambda w: w.pop(FIRST)), "missing .'head.output.bias'"),
        (lambda f: _edit(f, _set("backdoor", torch.zeros(2))), "unexpected .'backdoor'"),
        (lambda f: _edit(f, _set(FIRST, torch.zeros(4))), r"head.output.bias is F32 \[4\].*asks for.*\[3\]"),
        (lambda f: _edit(f, _set(FIRST, torch.zeros(3, dtype=torch.float64))), "head.output.bias is F64"),
        (lambda f: _edit(f, _set(FIRST, torch.tensor([0.0, float("nan"), 0.0]))), "head.output.bias.*not finite"),
        (lambda f: _edit(f, _set(FIRST, torch.tensor([0.0, float("inf"), 0.0]))), "head.output.bias.*not finite"),
        (lambda f: torch.save({"a": torch.zeros(1)}, f / "model.safetensors"), "damaged|cannot read"),
    ],
)
def test_damaged_weights_are_refused_with_a_typed_error(folder, damage, message):
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        LEMModel.from_pretrained(folder)


def test_weights_of_another_architecture_are_refused_before_they_are_read(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 512, "tkan_layers": 16}))
    with pytest.raises(WeightsError, match="does not fit the configuration"):
        LEMModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "pickle.loads"}, "unknown head"),
        ({"head_config": {"width": 3}}, "head_config of 'flexible'"),
        ({"head_config": {"hidden_size": 10**9}}, "hidden_size"),
        ({"schema_version": 7}, "schema_version 7"),
        ({"code": "import os"}, "code"),
        ({"horizon": "x"}, "horizon"),
    ],
    ids=str,
)
def test_a_bad_configuration_is_refused_with_a_typed_error(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ConfigError, match=message):
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
