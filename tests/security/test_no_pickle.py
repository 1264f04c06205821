"""No pickle is opened on the way to a model: not in any module that loading can reach, and not when it runs."""

import ast
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lem_models.hub.models.zoo import list_models
from lem_models.modeling.model import LEMModel
from tests.hub.server import HubServer, point_client_at
from tests.security import guard
from tests.security.corpus import HOSTILE, build, canary, sound_model

PACKAGE = Path(__file__).parents[2] / "lem_models"
ROOTS = ("lem_models.modeling.model", "lem_models.hub.models.load", "lem_models.hub.models.folder")
CHECKPOINTS = "lem_models.training.checkpoint"  # the only module that opens pickles, as plain data

_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
_CALLS = {"load", "read_pickle", "load_from_checkpoint", "load_state_dict_from_url", "UntypedStorage", "loads"}
_OWNERS = {"torch", "jit", "hub", "np", "numpy", "pd", "pandas", "serialization", "package", "yaml", *_MODULES}
_ALLOWED = {"yaml.load"}  # by a class that makes plain values only
_NO_PICKLE = {"safetensors.torch"}  # its `load` takes bytes of a header and of numbers
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_BY_NAME = {"getattr", "import_module", "importlib.import_module"}


def openers(tree: ast.AST) -> Iterator[str]:
    """What in a module could open a pickle, or run a text as code."""
    renamed = {
        alias.asname: alias.name.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            yield from (f"import {name}" for name in names if name.partition(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            if module[0] in _MODULES or (module[-1] in _OWNERS and node.module not in _NO_PICKLE and _CALLS & {*names}):
                yield f"from {node.module} import {', '.join(names)}"
        elif isinstance(node, ast.Attribute) and node.attr in _CALLS:
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            is_opener = {owner, renamed.get(owner)} & _OWNERS or node.attr.startswith("load_")
            if is_opener and f"{owner}.{node.attr}" not in _ALLOWED:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
            yield f"{node.func.id}()"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _BY_NAME:
            # Only a name that is written there can be judged.
            named = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
            if named & (_CALLS | _MODULES):
                yield f"{ast.unparse(node.func)}()"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "allow_pickle"


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that a module may import, at its top or inside its functions."""
    for node in ast.iter_child_nodes(tree):
        if _is_for_types_only(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


def _file(module: str, package: Path) -> Path | None:
    path = package.parent.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def reachable(roots: tuple[str, ...], package: Path = PACKAGE) -> dict[str, ast.AST]:
    """Every module of the package that the roots import, and that those import, by name."""
    found: dict[str, ast.AST] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        file = _file(module, package) if module.split(".")[0] == "lem_models" else None
        if file is not None and module not in found:
            found[module] = ast.parse(file.read_text(encoding="utf-8"))
            waiting += [module.rpartition(".")[0], *imported(found[module])]
    return found


# --- the text of the package -----------------------------------------------------------------------------------------


def test_nothing_that_loading_reaches_opens_a_pickle():
    modules = reachable(ROOTS)
    assert {"lem_models.guard.safetensors", "lem_models.modeling.heads.flexible"} <= set(modules)
    assert CHECKPOINTS not in modules
    assert {name: found for name, tree in modules.items() if (found := list(openers(tree)))} == {}


def test_only_checkpoints_are_opened_and_only_as_plain_data():
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")}
    found = {
        file.relative_to(PACKAGE).as_posix(): seen
        for file, tree in trees.items()
        if (seen := [what for what in openers(tree) if what not in ("compile()",)])
    }
    assert found == {"training/checkpoint.py": ["torch.load"]}
    for file, tree in trees.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            settings = {keyword.arg: keyword.value for keyword in call.keywords}
            is_load = isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "torch.load"
            if is_load or "ckpt_path" in settings:
                assert ast.unparse(settings["weights_only"]) == "True", f"{file}:{call.lineno}"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("import torch\ndef f(p):\n    return torch.load(p, weights_only=True)", ["torch.load"]),
        ("def f():\n    import pickle", ["import pickle"]),
        ("from pickle import loads as sound", ["from pickle import loads"]),
        ("from torch import load", ["from torch import load"]),
        ("from torch.serialization import load", ["from torch.serialization import load"]),
        ("import torch\nread = torch.jit.load", ["jit.load"]),
        ("import pandas as pd\npd.read_pickle('x')", ["pd.read_pickle"]),
        ("import numpy as np\nnp.fromfile('x', allow_pickle=True)", ["allow_pickle"]),
        ("LEMModel.load_from_checkpoint('x')", ["LEMModel.load_from_checkpoint"]),
        ("def f(text):\n    exec(text)", ["exec()"]),
        ("import torch as t\nt.load('x')", ["t.load"]),
        ("import pandas as frames\nframes.read_pickle('x')", ["frames.read_pickle"]),
        ("from torch import serialization as s\ns.load('x')", ["s.load"]),
        ("import torch\ngetattr(torch, 'load')('x')", ["getattr()"]),
        ("import importlib\nimportlib.import_module('pickle')", ["importlib.import_module()"]),
        ("import json as j\nj.load(file)\ngetattr(j, 'dumps')", []),
        ("import json\njson.loads('1')\nmodel.load_state_dict({})", []),
    ],
)
def test_the_search_finds_what_it_is_there_to_find(text, seen):
    assert list(openers(ast.parse(text))) == seen


def test_the_search_follows_imports_into_functions_and_parents(tmp_path):
    package = tmp_path / "lem_models"
    for name, text in {
        "__init__": "",
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lem_models import typed\n"
        "def f():\n    from lem_models.sub import c\n",
        "typed": "",
        "sub/__init__": "import lem_models.d\n",
        "sub/c": "import torch\ntorch.load('x')\n",
        "d": "",
        "alone": "import pickle",
    }.items():
        (package / f"{name}.py").parent.mkdir(exist_ok=True, parents=True)
        (package / f"{name}.py").write_text(text)
    names = {"", ".a", ".sub", ".sub.c", ".d"}
    assert set(reachable(("lem_models.a",), package)) == {f"lem_models{name}" for name in names}


# --- while it runs ---------------------------------------------------------------------------------------------------


def _loading(name, **settings):
    """A task that loads a model, with everything that opens pickles made to fail."""

    def refuse(*arguments, **others):
        raise AssertionError("a pickle was opened")

    def task():
        torch.set_num_threads(1)  # threads of the parent are not in its child, which would wait for them
        for module, names in {
            pickle: ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"),
            torch: ("load",),
            torch.jit: ("load",),
            torch.serialization: ("load", "_load", "_legacy_load"),
        }.items():
            for function in names:
                setattr(module, function, refuse)
        LEMModel.from_pretrained(name, **settings)

    return task


def _unpickled(found):
    return [event for event in found["events"] if event.startswith(("pickle", "marshal.loads", "os.system"))]


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are watched by means of Linux")


@needs_linux
@pytest.mark.parametrize("name", list_models())
def test_a_bundled_model_loads_without(name):
    found = guard.run(_loading(str(name)))
    assert (found["error"], _unpickled(found)) == ("", []), found


@needs_linux
def test_a_model_of_the_hub_loads_without_and_its_other_files_stay_there(tmp_path, monkeypatch):
    """Also names that would lead out of the cache are not looked at."""
    folder = build("pickles_and_code_beside_a_model", sound_model(tmp_path / "sound"), tmp_path / "home")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {
        name: b"evil" for name in ("../escaped", "/tmp/escaped", "..\\escaped", "a/../../escaped", "other/config.json")
    }
    with HubServer() as hub:
        point_client_at(hub, monkeypatch, tmp_path / "cache")
        hub.create("evil/model", files)
        from huggingface_hub import snapshot_download  # imported before the process is watched

        assert callable(snapshot_download)
        found = guard.run(_loading("evil/model", cache_dir=tmp_path / "cache" / "hub"))
    assert (found["error"], _unpickled(found)) == ("", []), found
    assert not canary(folder).exists()
    kept = {path.name for path in (tmp_path / "cache").rglob("*") if "snapshots" in path.parts and not path.is_dir()}
    assert kept == {"config.json", "model.safetensors"}
    assert not list(tmp_path.rglob("*escaped*"))


@needs_linux
@pytest.mark.parametrize(
    "name", ["pickle_as_weights", "torch_file_as_weights", "config_remote_code_auto_map", "tensor_nan"]
)
def test_a_hostile_model_of_the_hub_is_refused_as_a_folder_is(name, tmp_path, monkeypatch):
    folder = build(name, sound_model(tmp_path / "sound"), tmp_path / "home")
    with HubServer() as hub:
        point_client_at(hub, monkeypatch, tmp_path / "cache")
        hub.create("evil/model", {path.name: path.read_bytes() for path in folder.iterdir()})
        with pytest.raises(HOSTILE[name].error, match=HOSTILE[name].message):
            LEMModel.from_pretrained("evil/model")
    assert not canary(folder).exists()


@needs_linux
def test_a_pickle_that_is_opened_is_noticed(tmp_path):
    (tmp_path / "x").write_bytes(pickle.dumps(Path("x")))
    found = guard.run(lambda: pickle.loads((tmp_path / "x").read_bytes()))
    assert any(event.startswith("pickle.find_class") for event in found["events"])
