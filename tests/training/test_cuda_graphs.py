"""CUDA graphs: the same training as without them, and refused where there is nothing to record."""

import pytest
import torch

from lem_models.errors import ConfigError
from tests.training.tiny import BARS, tiny_recipe, trained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    BARS.write(path)
    return path


def _trained(data, out, accelerator, *, graphs):
    recipe = tiny_recipe(trainer={"cuda_graphs": graphs})
    return trained(recipe, out=out, data=data, accelerator=accelerator, devices=1)


def test_they_need_a_cuda_device(data, tmp_path):
    with pytest.raises(ConfigError, match=r"cuda_graphs needs one CUDA device.*1 x cpu"):
        _trained(data, tmp_path, "cpu", graphs=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_is_the_same_with_and_without(data, tmp_path):
    plain, replayed = (_trained(data, tmp_path / str(g), "gpu", graphs=g).state_dict() for g in (False, True))
    assert plain.keys() == replayed.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(replayed[name], weight, rtol=1e-4, atol=1e-5)
