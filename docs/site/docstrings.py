"""Docstrings on the site: signatures as the source has them, and names that lead somewhere.

A role of a docstring (``:class:`Bars```) names an object of Python. The object decides what becomes of the name:

- it is documented on the site, perhaps under another name: the name is a link;
- it exists, but is not documented: the name is plain code;
- it does not exist: Sphinx warns, so a strict build fails.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING

import pydantic
from docutils import nodes
from sphinx.domains.python import PyObject
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_PACKAGE = "lem_models"
_MISSING = object()
_DECLARED = object()
"""Stands for a field that a class declares without a value."""


class _ForReaders(ast.NodeTransformer):
    """An annotation as a reader wants it: ``Annotated[T, ...]`` is ``T``, and names of the package are full ones.

    A full name after ``~`` is shown by its last part, and it is not ambiguous: two classes are called ``Decision``.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        thing = _in_module(self.module, node.id)
        origin = getattr(thing, "__module__", None)
        if isinstance(thing, type) and origin and origin.startswith(_PACKAGE):
            return ast.Name(f"~{origin}.{thing.__qualname__}")
        return node


def _as_written(annotation: object, module: str) -> object:
    if not isinstance(annotation, str):
        return annotation
    return ast.unparse(_ForReaders(module).visit(ast.parse(annotation, mode="eval")))


class _Elided:
    """A default that is no expression, such as a function: what is shown in its place."""

    def __repr__(self) -> str:
        return "..."


def _default(value: object) -> object:
    value = value.value if isinstance(value, Enum) else value
    try:
        ast.parse(repr(value), mode="eval")
    except SyntaxError:
        return _Elided()
    return value


def _fields(model: type[pydantic.BaseModel]) -> inspect.Signature:
    """The constructor of a settings class: its fields, with the annotations of the source."""
    written = {
        name: _as_written(each, base.__module__)
        for base in reversed(model.__mro__)
        for name, each in vars(base).get("__annotations__", {}).items()
    }
    parameters = []
    for name, field in model.model_fields.items():
        default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        default = default if default is inspect.Parameter.empty else _default(default)
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=written[name])
        )
    return inspect.Signature(parameters)


def show_signature(
    app: Sphinx, kind: str, name: str, thing: object, options: object, arguments: str | None, returns: str | None
) -> tuple[str, str] | None:
    """Print the annotations of the source: ``BarsLike``, not the union that it stands for."""
    if arguments is None or kind not in ("class", "function", "method"):
        return None
    if kind == "class" and issubclass(thing, pydantic.BaseModel):
        signature = _fields(thing)
    else:
        signature, module = inspect.signature(thing), thing.__module__
        parameters = [
            each.replace(
                annotation=_as_written(each.annotation, module),
                default=each.default if each.default is inspect.Parameter.empty else _default(each.default),
            )
            for each in signature.parameters.values()
        ]
        if kind == "method" and not inspect.ismethod(thing):
            owner = _named(name.rpartition(".")[0])
            is_static = isinstance(inspect.getattr_static(owner, thing.__name__, None), staticmethod)
            parameters = parameters if is_static else parameters[1:]  # without self
        returned = _as_written(signature.return_annotation, module)
        signature = signature.replace(parameters=parameters, return_annotation=returned)
    text = stringify_signature(signature.replace(return_annotation=inspect.Signature.empty), unqualified_typehints=True)
    after = signature.return_annotation
    return text, after if isinstance(after, str) and kind != "class" else ""


def _named(dotted: str) -> object:
    """The object that a full name stands for."""
    module, names = dotted, []
    while module:
        try:
            importlib.import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
            continue
        if not names:
            return importlib.import_module(module)
        thing = _in_module(module, names[0])
        for name in names[1:]:
            thing = _member(thing, name)
        return thing
    return _MISSING


def _in_module(module: str, name: str) -> object:
    """What a name means in a module, names that it imports for types alone included."""
    thing = getattr(sys.modules.get(module), name, _MISSING)
    if thing is _MISSING and (origin := _imports(module).get(name)):
        thing = getattr(importlib.import_module(origin), name, _MISSING)
    return thing


@functools.cache
def _imports(module: str) -> dict[str, str]:
    """Names that a module of the package imports from another one, with the other."""
    if module.split(".")[0] != _PACKAGE or module not in sys.modules:
        return {}
    nodes_of = ast.walk(ast.parse(inspect.getsource(sys.modules[module])))
    froms = [node for node in nodes_of if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE)]
    return {alias.asname or alias.name: node.module for node in froms for alias in node.names if node.module}


def _member(thing: object, name: str) -> object:
    """An attribute of a class, fields without a default included."""
    if (value := getattr(thing, name, _MISSING)) is not _MISSING or not isinstance(thing, type):
        return value
    is_declared = any(name in vars(base).get("__annotations__", {}) for base in thing.__mro__)
    return _DECLARED if is_declared else _MISSING


def _meant(node: pending_xref) -> object:
    """The object that a role means, read as the code around the docstring would read it."""
    target = node["reftarget"].lstrip(".~")
    context = (node.source or "").partition(":docstring of ")[2].partition(":")[0]
    scopes = [context.rsplit(".", count)[0] for count in range(context.count(".") + 1)] if context else []
    scopes += [home for scope in scopes if (home := getattr(_named(scope), "__module__", None))]
    for name in (target, *(f"{scope}.{target}" for scope in scopes)):
        if (thing := _named(name)) is not _MISSING:
            return thing
    return _MISSING


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Node | None:
    """Find what a reference to Python means that Sphinx did not find by its name."""
    if node.get("refdomain") != "py":
        return None
    objects = env.get_domain("py").objects
    meant = _meant(node)
    if meant is _MISSING:  # perhaps a docstring that a subclass in another module inherits
        endings = [
            name for name, entry in objects.items() if name.endswith(f".{node['reftarget']}") and not entry.aliased
        ]
        found = endings[0] if len(endings) == 1 else None
    else:
        found = _documented(env).get(id(getattr(meant, "__func__", meant)))
    if found is not None:
        entry = objects[found]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, found)
    is_annotation = not isinstance(text, nodes.literal)  # mypy checks their names
    return text if is_annotation or meant is not _MISSING else None


def _documented(env: BuildEnvironment) -> dict[int, str]:
    """Names on the site by the identity of their object: classes, functions, methods and properties."""
    known: dict[int, str] | None = getattr(env, "_lem_documented", None)
    if known is None:
        known = {}
        for name, entry in env.get_domain("py").objects.items():
            thing = _named(name)
            thing = getattr(thing, "__func__", thing)  # of a class method, which is bound anew each time
            if not entry.aliased and isinstance(thing, type | FunctionType | property):
                known.setdefault(id(thing), name)
        env._lem_documented = known
    return known


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    for each in PyObject.doc_field_types:
        each.label = "Attributes" if each.name == "variable" else each.label
    app.connect("autodoc-process-signature", show_signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
