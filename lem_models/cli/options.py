"""Options of commands: a settings class declares them, and a command is a function of its settings.

A field is an option. Its name is the option's, its description the help, its bound ``ge`` the smallest value. Required
options are listed first. Commands that share options share the class::

    class CostOptions(Settings):
        half_spread: float = Field(0.0, description="Cost: half of the spread, in bps.")

    class ExecuteOptions(CostOptions):
        flags = {"model": "--policy --model"}

        orders: Path = Field(description="Table of orders: .csv or .parquet.")
        model: str | None = Field(None, description="Model or baseline by name.")

    def execute(options: ExecuteOptions, out: Output) -> None:
        ...

    add_command(app, execute, name="execute", summary="Execute a table of orders.")

Every command has an :class:`~lem_models.cli.output.Output`, and with it ``--json`` and ``--quiet``. Its docstring is
its help, and ends with an example or several, ``Example: lem ...``, each a paragraph.

The class variable ``flags`` gives options other names: several, a pair for yes and no (``"--private/--public"``), or
``""`` for a field that is not an option. A field of the type ``Annotated[..., typer.Argument()]`` is an argument. The
shell completes the choices of a ``Literal``, and the names of a field of the type ``Annotated[..., Completed(names)]``.
The command line passes strings and numbers; the settings class reads and checks them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

from lem_models.cli.help import Command
from lem_models.cli.output import Output
from lem_models.guard.settings import Settings

__all__ = ["Completed", "add_command", "as_arguments", "narrowed"]

JSON = "Print the result as JSON, see docs/command-line.md."
"""Help of ``--json``."""

QUIET = "Print the result and errors, nothing else."
"""Help of ``--quiet``."""

_PLAIN = (bool, int, float, Path)
"""Types that the command line reads itself; the settings class reads all others from a string."""

SettingsType = TypeVar("SettingsType", bound=Settings)


@dataclass(frozen=True)
class Completed:
    """The shell completes the values of an option by these names.

    Attributes:
        names: Gives the names.
    """

    names: Callable[[], Iterable[str]]


def add_command(app: typer.Typer, command: Callable[[SettingsType, Output], None], *, name: str, summary: str) -> None:
    """Add a command whose options are the fields of its settings class, with ``--json`` and ``--quiet``.

    Args:
        app: The group of commands.
        command: Function of the settings and the output; its docstring is the help, with examples.
        name: Name of the command.
        summary: Its line in the list of commands.
    """
    settings, _ = (hint for key, hint in get_type_hints(command).items() if key != "return")

    def call(*, json: bool, quiet: bool, **values: Any) -> None:
        with Output(is_json=json, is_quiet=quiet) as out:
            command(settings(**{key: value for key, value in values.items() if value not in (None, [])}), out)

    fields = [(key, field) for key, field in settings.model_fields.items() if _flags(settings, key)]
    fields.sort(key=lambda item: not item[1].is_required())
    parameters = [_parameter(settings, key) for key, _ in fields]
    parameters += [_switch("json", "--json", JSON), _switch("quiet", "--quiet -q", QUIET)]
    call.__doc__, call.__signature__ = command.__doc__, inspect.Signature(parameters)  # type: ignore[attr-defined]
    app.command(name=name, short_help=summary, cls=Command)(call)


def as_arguments(settings: Settings, declared_by: type[Settings] | None = None) -> list[str]:
    """Command-line options that reproduce settings; defaults are left out.

    Args:
        settings: The settings; fields with lists must have their defaults.
        declared_by: Class whose options are written; default the class of the settings.
    """
    arguments = []
    for name, field in (declared_by or type(settings)).model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            yes, _, no = _flags(type(settings), name)[0].partition("/")
            arguments += [yes if value else no] if isinstance(value, bool) else [yes, str(value)]
    return arguments


def narrowed(settings: Settings, kind: type[SettingsType]) -> SettingsType:
    """Settings of a base class, taken from those of a derived class."""
    return kind(**{name: getattr(settings, name) for name in kind.model_fields})


def _flags(settings: type[Settings], name: str) -> list[str]:
    """Names of the option of a field; an option that is on by default gets a ``--no-`` form."""
    for kind in settings.__mro__:
        flags = vars(kind).get("flags", {})
        if name in flags:
            return str(flags[name]).split()
    plain = name.replace("_", "-")
    return [f"--{plain}/--no-{plain}" if settings.model_fields[name].default is True else f"--{plain}"]


def _parameter(settings: type[Settings], name: str) -> inspect.Parameter:
    """A field as a parameter of a function that typer reads."""
    field = settings.model_fields[name]
    argument = next((each for each in field.metadata if isinstance(each, ArgumentInfo)), None)
    info = typer.Option(*_flags(settings, name)) if argument is None else copy(argument)
    info.help = field.description
    info.autocompletion = _completion(field)
    info.min = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.is_required() else _default(field),
        annotation=Annotated[_plain(field.annotation), info],
    )


def _switch(name: str, flags: str, text: str) -> inspect.Parameter:
    """An option that every command has."""
    option = Annotated[bool, typer.Option(*flags.split(), help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)


def _completion(field: FieldInfo) -> Callable[[str], list[str]] | None:
    """Completes what was typed of a value; of a list with commas, its last part."""
    sources = [*field.metadata, *_parts(field.annotation)]
    named = next((each.names for each in sources if isinstance(each, Completed)), None)
    choices = [each for each in sources if isinstance(each, str)]
    if named is None and not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        names = choices if named is None else named()
        return [f"{before}{comma}{name}" for name in names if name.startswith(last)]

    return complete


def _parts(annotation: Any) -> list[Any]:  # noqa: ANN401 (a type)
    """What a type is made of: the choices of a ``Literal``, the metadata of an ``Annotated``."""
    return [part for kind in get_args(annotation) for part in (kind, *_parts(kind))]


def _default(field: FieldInfo) -> Any:  # noqa: ANN401 (of any type)
    return field.default or None if isinstance(field.default, tuple) else field.default


def _plain(annotation: Any) -> Any:  # noqa: ANN401 (a type, or what typing makes of types)
    """The type that the command line reads for a type of the settings class; an option with a list is repeated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, UnionType):
        kinds = [_plain(kind) for kind in get_args(annotation) if kind is not NoneType]
        several = next((kind for kind in kinds if get_origin(kind) is list), None)
        plain = several or (kinds[0] if len(kinds) == 1 else str)
        return plain | None if NoneType in get_args(annotation) else plain
    if isinstance(origin, type) and issubclass(origin, Sequence | Mapping):
        return list[_plain(get_args(annotation)[0])]  # type: ignore[misc]
    return annotation if annotation in _PLAIN else str
