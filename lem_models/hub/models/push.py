"""Publish models: configuration, weights, card and evaluation results, in one commit.

The card in the repository stays unchanged unless the caller asks to replace it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lem_models.errors import LookAheadError
from lem_models.hub.commit import Draft, DraftMaker, Plan, PlannedFile, commit, make_plan
from lem_models.hub.models.contents import Contents, contents_of
from lem_models.hub.models.folder import read_pair, read_weights
from lem_models.hub.names import CARD_NAME, WEIGHTS_NAME
from lem_models.hub.repository import Repository
from lem_models.hub.settings import ModelUpload
from lem_models.modeling.config import ConfigFile

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["ModelUpload", "plan_model", "publish_contents", "publish_model", "push_model"]


def push_model(model: LEMModel, to: ModelUpload) -> str:
    """Publish a model; return the URL of the commit or pull request. See :meth:`lem_models.LEMModel.push_to_hub`."""
    return publish_model(model, to).url


def publish_model(model: LEMModel, to: ModelUpload) -> Plan:
    """Publish a model; other files in the repository stay.

    The card is that of the folder from which the model was loaded, if the folder still holds this model. Otherwise a
    plain card is made from its files.

    Args:
        model: The model.
        to: The destination, and what is published with the model.

    Returns:
        The publication, with the URL of the commit or pull request.

    Raises:
        LookAheadError: when the model looks ahead.
        UntrainedHeadError: when the model is untrained; then the Hub is not asked anything.
        ConfigError: when the card cannot be published.
        HubError: when the Hub refuses or cannot be reached.
    """
    return publish_contents(_contents(model, to), to)


def plan_model(model: LEMModel, to: ModelUpload) -> Plan:
    """Plan :func:`publish_model`; nothing is changed. Raises the same errors."""
    return make_plan(to, _draft_maker(_contents(model, to), to))


def publish_contents(contents: Contents, to: ModelUpload) -> Plan:
    """Publish collected files of a model folder.

    Raises:
        HubError: when the Hub refuses or cannot be reached.
    """
    return commit(to, _draft_maker(contents, to))


def _draft_maker(contents: Contents, to: ModelUpload) -> DraftMaker:
    files = [PlannedFile.of(path, content) for path, content in contents.files.items()]

    def make_draft(repository: Repository | None, _: Sequence[PlannedFile]) -> Draft:
        planned = {file.path: file.against(repository) for file in files}
        if planned[CARD_NAME].state != "changed" or to.replace_card:
            return Draft(tuple(planned.values()), contents.notes)
        for path in contents.card_files:  # pictures go with their card
            if planned[path].state != "same":
                planned[path] = replace(planned[path], state="kept")
        note = "the card in the repository stays: --replace-card (replace_card=True) sends this one"
        if planned[WEIGHTS_NAME].state == "changed":
            note = (
                "the card in the repository stays, and was written for the weights before these: read it, or send this "
                "one with --replace-card (replace_card=True)"
            )
        return Draft(tuple(planned.values()), (*contents.notes, note))

    return make_draft


def _contents(model: LEMModel, to: ModelUpload) -> Contents:
    if getattr(model, "looks_ahead", False):
        raise LookAheadError.of(model)
    source = model.source
    with tempfile.TemporaryDirectory() as made:
        folder = source if source is not None and _is_saved_in(model, source) else model.save_pretrained(made)
        return contents_of(folder, to)


def _is_saved_in(model: LEMModel, folder: Path) -> bool:
    """Whether a folder still holds this model, so that its card and its results are about the model."""
    import torch

    state = model.state_dict()

    def read(file: ConfigFile, stored: BinaryIO) -> bool:
        saved = read_weights(stored, state, file.weights_sha256)
        same = all(torch.equal(saved[key], value.detach().cpu()) for key, value in state.items())
        return same and model.is_trained and file.config == model.config

    try:
        return read_pair(folder, read)
    except Exception:  # the folder is gone or holds something else
        return False
