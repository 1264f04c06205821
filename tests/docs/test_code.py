"""Every block of Python in the documentation runs, page by page and in order, as a reader would type it.

A block of text that follows is what the block prints.
"""

import contextlib
import io
import itertools
import linecache
import shutil

import pytest
import yaml

from lem_models import LEMModel, synthetic_bars
from lem_models.baselines import registry
from lem_models.modeling.heads import base
from tests.docs.pages import PAGES
from tests.hub.server import HubServer, point_client_at
from tests.training.tiny import TINY

RECIPE = {
    **TINY,
    "data": {**TINY["data"], "train_end": "2024-04-15", "validation_end": "2024-04-24", "stretch": 32},
    "trainer": {"steps": 2, "steps_per_epoch": 1},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that the pages name; each page has a copy."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "recipes").mkdir(parents=True)
    (folder / "huge").mkdir()
    bars = synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=45, start="2024-03-17", seed=5)
    for name in ("bars.parquet", "bars.arrow", "crypto_hourly.parquet", "huge.parquet", "huge/0.parquet"):
        bars.write(folder / name)
    following = synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=1, start="2024-05-01", seed=6)
    following.write(folder / "next_bars.parquet")
    for name in ("recipe.yaml", "recipes/scratch.yaml"):
        (folder / name).write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return folder


@pytest.fixture
def desk(files, tmp_path, monkeypatch):
    """The folder of a page."""
    folder = tmp_path / "desk"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(base, "_HEADS", dict(base._HEADS))
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))
    return folder


@pytest.fixture(scope="module")
def model():
    return LEMModel.from_pretrained("lem-crypto-hourly")


@pytest.fixture
def hub(page, tmp_path, monkeypatch, model):
    """A Hub with the repositories that the page names."""
    with HubServer() as server:
        point_client_at(server, monkeypatch, tmp_path / "home")
        monkeypatch.setenv("HF_TOKEN", server.token)
        if any("desk/" in block.text for block in page.python):
            model.push_to_hub("desk/lem-btc", branch="v1", private=True)
            model.push_to_hub("desk/lem-btc", private=True)
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if page.python], ids=str)
@pytest.mark.usefixtures("desk", "hub")
def test_the_code_runs(page):
    names = {"__name__": "page"}
    for block, after in itertools.zip_longest(page.blocks, page.blocks[1:]):
        if block not in page.python:
            continue
        source = f"{page}, line {block.line}"
        linecache.cache[source] = (len(block.text), None, block.text.splitlines(True), source)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.text, source, "exec"), names)
        if after is not None and after.language == "text":
            assert printed.getvalue() == after.text, source
