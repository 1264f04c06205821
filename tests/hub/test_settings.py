"""Settings of publishing: refused before anything is asked of the Hub, and never showing a token."""

from __future__ import annotations

import inspect

import pytest

from lem_models import Bars, LEMModel
from lem_models.errors import ConfigError, LEMError, UnknownNameError
from lem_models.hub.settings import BarsUpload, ModelUpload, size_in_bytes
from tests.hub.leaks import everything_said

NAME = "desk/name"
TOKEN = "hf_" + "ASecret"  # in two parts: a traceback shows this file


@pytest.mark.parametrize("kind", [ModelUpload, BarsUpload])
@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"repo_id": "no-slash"}, UnknownNameError, "on the Hub is named 'org/name'; got 'no-slash'"),
        ({"repo_id": None}, UnknownNameError, "on the Hub is named 'org/name'; got None"),
        ({"commit_message": " "}, ConfigError, "cannot publish: commit_message is empty"),
        ({"private": "perhaps"}, ConfigError, "cannot publish: private: Input should be a valid boolean"),
        ({"brnach": "x"}, ConfigError, "cannot publish: brnach: Extra inputs are not permitted"),
        ({"token": [TOKEN]}, ConfigError, "cannot publish: token"),
    ],
)
def test_what_is_wrong_is_named_without_the_token(kind, values, error, message):
    with pytest.raises(error, match=message) as caught:
        kind(**{"repo_id": NAME, "token": TOKEN, **values})
    assert "\n" not in str(caught.value)
    assert TOKEN not in everything_said(caught.value)


def test_the_token_is_not_shown():
    assert TOKEN not in repr(ModelUpload(repo_id=NAME, token=TOKEN))
    assert TOKEN not in str(BarsUpload(repo_id=NAME, token=TOKEN))


def test_a_branch_has_two_names_in_a_model_upload():
    assert ModelUpload(repo_id=NAME, revision="x").branch == "x"
    assert ModelUpload(repo_id=NAME, revision="x", branch="x").branch == "x"
    with pytest.raises(ConfigError, match="branch='x' and revision='y' mean the same"):
        ModelUpload(repo_id=NAME, branch="x", revision="y")


@pytest.mark.parametrize(("text", "size"), [("500MB", 5 * 10**8), ("1 GiB", 1 << 30), (7, 7), ("7b", 7)])
def test_a_size_is_read(text, size):
    assert size_in_bytes(text) == BarsUpload(repo_id=NAME, max_shard_size=text).max_shard_size == size


@pytest.mark.parametrize("size", [0, "0KB", "many", True, None, "1e3"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(LEMError, match="a size is a number of bytes"):
        BarsUpload(repo_id=NAME, max_shard_size=size)


@pytest.mark.parametrize(("method", "kind"), [(LEMModel.push_to_hub, ModelUpload), (Bars.push_to_hub, BarsUpload)])
def test_a_method_takes_every_setting_with_its_default(method, kind):
    parameters = dict(list(inspect.signature(method).parameters.items())[1:])  # without self
    assert parameters.keys() == kind.model_fields.keys()
    for name, parameter in parameters.items():
        field = kind.model_fields[name]
        assert field.is_required() if parameter.default is parameter.empty else field.default == parameter.default
