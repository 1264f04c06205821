"""Options of commands: a settings class declares them, and a command is a function of its settings.

A field is an option. Its name is the option's, its description the help, its bound ``ge`` the smallest value. Required
options are listed first. Commands that share options share the class::

    class CostOptions(Settings):
        half_spread: float = Field(0.0, description="Cost: half of the spread, in bps.")

    class ExecuteOptions(CostOptions):
        orders: Path = Field(description="Table of orders: .csv or .parquet.")
        model: Annotated[str | None, typer.Option("--policy", "--model")] = Field(None, description="Model.")

    def execute(options: ExecuteOptions) -> None:
        ...

    add_command(app, execute, name="execute", summary="Execute a table of orders.")

``typer.Option`` in an annotation gives an option other names than its field's; ``typer.Argument()`` makes it an
argument. The command line hands over texts and numbers, and the settings class reads and checks them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge
from pydantic.fields import FieldInfo
from typer.models import OptionInfo, ParameterInfo

from lem_models.guard.settings import Settings

__all__ = ["add_command", "as_arguments", "narrowed"]

_PLAIN = (bool, int, float, Path)
"""Kinds of values that the command line reads itself; anything else is a text for the settings class to read."""

SettingsType = TypeVar("SettingsType", bound=Settings)


def add_command(app: typer.Typer, command: Callable[[SettingsType], None], *, name: str, summary: str) -> None:
    """Add a command whose options are the fields of its settings class.

    Args:
        app: The group of commands.
        command: Function of the settings; its docstring is the help.
        name: Name of the command.
        summary: Its line in the list of commands.
    """
    (settings,) = (hint for key, hint in get_type_hints(command).items() if key != "return")

    def call(**values: Any) -> None:
        command(settings(**values))

    fields = sorted(settings.model_fields.items(), key=lambda item: not item[1].is_required())
    signature = inspect.Signature([_parameter(key, field) for key, field in fields])
    call.__doc__, call.__signature__ = command.__doc__, signature  # type: ignore[attr-defined]
    app.command(name=name, short_help=summary)(call)


def as_arguments(settings: Settings, declared_by: type[Settings] | None = None) -> list[str]:
    """The options of a command line that give these settings: those that are not the defaults.

    Args:
        settings: The settings; no option among them that is not the default is a list.
        declared_by: Only the options of this class.
    """
    arguments = []
    for name, field in (declared_by or type(settings)).model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            yes, _, no = _flags(name, field)[0].partition("/")
            arguments += [yes if value else no] if isinstance(value, bool) else [yes, str(value)]
    return arguments


def narrowed(settings: Settings, kind: type[SettingsType]) -> SettingsType:
    """The settings of a class that another one derives from."""
    return kind(**{name: getattr(settings, name) for name in kind.model_fields})


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A field as a parameter of a function that typer reads."""
    declared = next(_declared(field), None)
    info = typer.Option(*_flags(name, field)) if declared is None else copy(declared)
    info.help = field.description
    info.min = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.is_required() else field.default,
        annotation=Annotated[_plain(field.annotation), info],
    )


def _declared(field: FieldInfo) -> Iterator[ParameterInfo]:
    return (each for each in field.metadata if isinstance(each, ParameterInfo))


def _flags(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Names of an option: those of its ``typer.Option``, or that of the field; what is on can be switched off."""
    for info in _declared(field):
        if isinstance(info, OptionInfo):  # it keeps the first name as its default
            return (str(info.default), *(info.param_decls or ()))
    plain = name.replace("_", "-")
    return (f"--{plain}/--no-{plain}" if field.default is True else f"--{plain}",)


def _plain(annotation: Any) -> Any:  # noqa: ANN401 (a type, or what typing makes of types)
    """The type that the command line reads for a type of the settings class."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        plain = _plain(kinds[0]) if len(kinds) == 1 else str
        return plain | None if len(kinds) < len(get_args(annotation)) else plain
    if get_origin(annotation) is list:
        return list[_plain(get_args(annotation)[0])]  # type: ignore[misc]
    return annotation if annotation in _PLAIN else str
