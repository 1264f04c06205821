"""Load a trained model by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.hub.models.folder import check_links, read_pair, read_weights
from lem_models.hub.models.resolve import resolve
from lem_models.modeling.config import MAX_WEIGHTS, ConfigFile, LEMConfig

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["load_model"]


def load_model(
    kind: type[LEMModel],
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> LEMModel:
    """Load a model of a class; see :meth:`lem_models.LEMModel.from_pretrained`."""

    def read(file: ConfigFile, stored: BinaryIO) -> tuple[LEMConfig, dict[str, Tensor]]:
        # Check the file against meta tensors, which take no memory, before anything of its size is allocated.
        with torch.device("meta"):
            expected = dict(kind(file.config).state_dict())
        weights_in_all = sum(tensor.numel() for tensor in expected.values())
        if weights_in_all > MAX_WEIGHTS:
            raise ConfigError(
                f"the configuration asks for {weights_in_all:,} weights; at most {MAX_WEIGHTS:,} are loaded"
            )
        return file.config, read_weights(stored, expected, file.weights_sha256)

    folder = resolve(name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
    check_links(folder)
    config, weights = read_pair(folder, read)
    with torch.random.fork_rng(devices=[]):  # the random weights are overwritten, and must not advance the generator
        model = kind(config)
    model.load_state_dict(weights, strict=True)
    model.is_trained = True
    model.name = Path(name).name
    model.source = folder
    return model.eval()
