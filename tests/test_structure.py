"""The structure of the package, read from its source: imports run one way, without a circle.

A *room* is a file or folder directly under ``lem_models/``. A room imports from itself and from the rooms before it in
:data:`ROOMS`. The exceptions are *doors*: methods of public classes that users expect there and that reach upwards.
A door is one import and one call, and :data:`DOORS` lists every one by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lem_models

PACKAGE = Path(lem_models.__file__).parent

ROOMS = (
    "errors",
    "guard",
    "notebook",
    "statistics",
    "orders",
    "markets",
    "features",
    "execution",
    "modeling",
    "baselines",
    "evaluation",
    "report",
    "programmes",
    "hub",
    "training",
    "desk",
    "integrations",
    "app",
    "cli",
    "",  # lem_models/__init__.py, the public face
)
"""Rooms from the ground up."""

KNOWS_ONLY_ERRORS = ("guard", "notebook", "statistics")

DOORS: Mapping[str, str] = {
    "lem_models.execution.policy:Policy.by_name": "lem_models.baselines",
    "lem_models.execution.policy:Policy.execute_df": "lem_models.execution.execute",
    "lem_models.execution.policy:Policy.session": "lem_models.execution.session",
    "lem_models.execution.policy:Policy.desk": "lem_models.desk.session",
    "lem_models.orders.order:Order.sample": "lem_models.markets.order_sampling",
    "lem_models.execution.result:ExecutionResult.plot": "lem_models.report.charts.results",
    "lem_models.markets.bars:Bars.plot": "lem_models.report.charts.market",
    "lem_models.markets.bars:Bars.sample": "lem_models.markets.samples",
    "lem_models.markets.bars:Bars.from_dataset": "lem_models.markets.storage.writer",
    "lem_models.markets.bars:Bars.push_to_hub": "lem_models.hub.datasets.push",
    "lem_models.markets.bars:Bars.from_hub": "lem_models.hub.datasets.pull",
    "lem_models.evaluation.tca.analysis:TransactionCosts.to_html": "lem_models.report.tca.page",
    "lem_models.evaluation.tca.analysis:TransactionCosts.__str__": "lem_models.report.tca.text",
    "lem_models.evaluation.explain.explanation:Explanation.plot": "lem_models.report.explain.picture",
    "lem_models.evaluation.explain.explanation:Explanation._repr_html_": "lem_models.report.explain.picture",
    "lem_models.modeling.model:LEMModel.explain": "lem_models.evaluation.explain.explanation",
    "lem_models.modeling.model:LEMModel.from_pretrained": "lem_models.hub.models.load",
    "lem_models.modeling.model:LEMModel.save_pretrained": "lem_models.hub.models.save",
    "lem_models.modeling.model:LEMModel.push_to_hub": "lem_models.hub.models.push",
}
"""Doors, ``module:Class.method``, and the module that each opens."""

MOST_FILES = 16
"""Python files in a folder; more of them want a room inside."""


@dataclass(frozen=True)
class Import:
    """One name that a module imports from another module of the package.

    Attributes:
        source: The module that imports.
        target: The module that is imported from.
        name: The name that is imported; empty for a whole module.
        alias: What the module calls it.
        line: Where.
        scope: Qualified name of the function around it, empty at the top of the module.
        is_for_types: Whether it stands under ``if TYPE_CHECKING``.
    """

    source: str
    target: str
    name: str
    alias: str
    line: int
    scope: str
    is_for_types: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.name or 'all'} from {self.target}"


@dataclass
class Source:
    """A module: its tree and its imports."""

    name: str
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)


def _name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read() -> dict[str, Source]:
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = _name_of(path)
        sources[name] = Source(name, ast.parse(path.read_text(encoding="utf-8")))
    for source in sources.values():
        source.imports = list(_imports(source.tree, source.name, frozenset(sources)))
    return sources


def _imports(
    node: ast.AST, source: str, modules: frozenset[str], scope: str = "", is_for_types: bool = False
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inner, types = scope, is_for_types
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{scope}.{child.name}" if scope else child.name
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            types = True
        elif isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "lem_models":
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                target, name = (whole, "") if whole in modules else (child.module, alias.name)
                yield Import(source, target, name, alias.asname or alias.name, child.lineno, scope, is_for_types)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.split(".")[0] == "lem_models":
                    yield Import(source, alias.name, "", alias.asname or alias.name, child.lineno, scope, is_for_types)
        yield from _imports(child, source, modules, inner, types)


SOURCES = _read()


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def _functions(tree: ast.Module) -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods by qualified name, nested ones left out; the overloads of a name come before it."""
    functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                functions.setdefault(prefix + member.name, []).append(member)
    return functions


def _names(nodes: list[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                names.add(each.id)
            elif isinstance(each, ast.Constant) and isinstance(each.value, str):
                with_names = each.value.replace("[", " ").replace("]", " ").replace("|", " ").replace(",", " ")
                names |= set(with_names.split())
    return names


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    arguments = function.args
    everything = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    notes: list[ast.AST] = [a.annotation for a in everything if a is not None and a.annotation is not None]
    return notes + ([function.returns] if function.returns is not None else [])


def _is_door(each: Import) -> bool:
    """Whether an import is that of a listed door, or a type that only signatures of doors of its module name."""
    if DOORS.get(f"{each.source}:{each.scope}") == each.target:
        return True
    if not each.is_for_types:
        return False
    tree = SOURCES[each.source].tree
    doors = [f for name, each_of in _functions(tree).items() if f"{each.source}:{name}" in DOORS for f in each_of]
    in_signatures = sum(each.name in _names([note]) for door in doors for note in _annotations(door))
    return in_signatures > 0 and _uses([tree], each.name) == _uses(doors, each.name)


def _uses(nodes: Sequence[ast.AST], name: str) -> int:
    return sum(isinstance(each, ast.Name) and each.id == name for node in nodes for each in ast.walk(node))


IMPORTS = [each for source in SOURCES.values() for each in source.imports if not _is_door(each)]


def test_every_room_has_its_place() -> None:
    assert {_room(name) for name in SOURCES} == set(ROOMS)


def test_imports_run_one_way() -> None:
    rank = {room: place for place, room in enumerate(ROOMS)}
    against = [str(each) for each in IMPORTS if rank[_room(each.target)] > rank[_room(each.source)]]
    assert not against, "\n".join(against)


@pytest.mark.parametrize("room", KNOWS_ONLY_ERRORS)
def test_the_ground_floor_knows_only_errors(room: str) -> None:
    others = [
        str(each) for each in IMPORTS if _room(each.source) == room and _room(each.target) not in (room, "errors")
    ]
    assert not others, "\n".join(others)


def test_no_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in SOURCES}
    for each in IMPORTS:
        if each.source != each.target:
            graph[each.source].add(each.target)
    # Take away again and again what imports nothing that is left: what stays lies on a circle, or above one.
    while True:
        free = {name for name, targets in graph.items() if not targets & graph.keys()}
        if not free:
            break
        graph = {name: targets for name, targets in graph.items() if name not in free}
    # And from the other end: what nothing imports lies above a circle.
    while True:
        imported = {target for targets in graph.values() for target in targets}
        if graph.keys() <= imported:
            break
        graph = {name: targets for name, targets in graph.items() if name in imported}
    assert not graph, "\n".join(f"{name} -> {', '.join(sorted(graph.keys() & graph[name]))}" for name in sorted(graph))


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_one_import_and_one_call(door: str) -> None:
    module, name = door.split(":")
    function = _functions(SOURCES[module].tree)[name][-1]
    owner = name.split(".")[0]
    assert not owner.startswith("_"), "doors are methods of public classes"
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    assert len(body) == 2, f"{door} has {len(body)} statements"
    assert isinstance(body[0], ast.ImportFrom)
    assert len(body[0].names) == 1
    assert isinstance(body[1], ast.Return | ast.Expr)
    assert isinstance(body[1].value, ast.Call)


def test_no_private_name_crosses_modules() -> None:
    crossing = [str(each) for each in IMPORTS if each.name.startswith("_") and not each.name.startswith("__")]
    for source in SOURCES.values():
        modules = {each.alias for each in source.imports if not each.name}
        crossing += [
            f"{source.name}:{node.lineno} reads {ast.unparse(node)}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ]
    assert not crossing, "\n".join(crossing)


def test_no_class_casts_itself() -> None:
    casts = [
        f"{source.name}:{node.lineno}: {ast.unparse(node)}"
        for source in SOURCES.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "cast"
        and any(isinstance(argument, ast.Name) and argument.id in ("self", "cls") for argument in node.args)
    ]
    assert not casts, "\n".join(casts)


def test_no_folder_is_crowded() -> None:
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    crowded = {str(path.relative_to(PACKAGE)): len(list(path.glob("*.py"))) for path in folders}
    assert not {name: count for name, count in crowded.items() if count > MOST_FILES}
