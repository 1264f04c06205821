"""Publishing models to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lem_models.errors import LEMError, LookAheadError

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["push_model"]


def push_model(
    model: LEMModel,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    branch: str | None,
    create_pr: bool,
    commit_message: str,
) -> str:
    """Upload ``config.json`` and ``model.safetensors`` in one commit; nothing else in the repository is touched.

    Returns:
        URL of the commit.

    Raises:
        LookAheadError: when the model looks ahead.
        UntrainedHeadError: when the model is untrained; nothing is asked of the Hub then.
        LEMError: when the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    if getattr(model, "looks_ahead", False):
        raise LookAheadError.of(model)
    api = HfApi(token=token, library_name="lem_models")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
            if branch is not None:
                api.create_branch(repo_id, branch=branch, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=Path(folder),
                revision=branch,
                create_pr=create_pr,
                commit_message=commit_message,
            )
        except Exception as error:  # errors of its HTTP library too; which that is depends on the client's version
            raise LEMError(f"cannot publish {repo_id!r}: {type(error).__name__}: {error}") from error
    return str(commit.commit_url)
