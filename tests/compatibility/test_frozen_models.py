"""Models saved by version 1 of the format still load: frozen configurations and tensor tables of the bundled models.

The files under ``models/`` are copies of ``config.json`` and of the names, types and shapes in the header of
``model.safetensors``. They are never regenerated: a change that breaks this test breaks models of users.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lem_models import LEMModel, Order, execute, synthetic_bars
from lem_models.modeling.config import ConfigFile

FOLDERS = sorted(path for path in (Path(__file__).parent / "models").iterdir() if path.is_dir())
DTYPES = {"F32": torch.float32}


def tensors(folder):
    """Types and shapes by name."""
    table = json.loads((folder / "tensors.json").read_text())
    return {name: (DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in table.items()}


def small_weights(folder):
    """Tensors of the table with small random values."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.05 * torch.randn(shape, generator=generator, dtype=dtype)
        for name, (dtype, shape) in tensors(folder).items()
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_setting_of_a_frozen_configuration_is_read(folder):
    written = json.loads((folder / "config.json").read_text())
    file = ConfigFile.read(folder / "config.json")
    assert file.weights_sha256 == written.pop("weights_sha256")
    read = file.config.model_dump(mode="json")
    assert {name: read[name] for name in written} == written


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_model_has_the_frozen_tensors(folder):
    with torch.device("meta"):
        model = LEMModel(ConfigFile.read(folder / "config.json").config)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in model.state_dict().items()} == tensors(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_frozen_files_load_and_decide(folder, tmp_path):
    content = json.loads((folder / "config.json").read_text())
    del content["weights_sha256"]  # the weights are other ones
    (tmp_path / "config.json").write_text(json.dumps(content))
    weights = small_weights(folder)
    save_file(weights, tmp_path / "model.safetensors")
    model = LEMModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    bars = synthetic_bars(symbols=1, days=16, seed=1)
    orders = Order.sample(bars, every=48, max_periods=4, lookback=256)
    assert execute(model, bars, orders, allow_frequency=True).orders["completed"].all()
