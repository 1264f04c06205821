"""Settings: frozen pydantic models that raise the typed errors of the package.

A subclass says what its errors begin with and, where :class:`~lem_models.errors.ConfigError` is the wrong kind, which
error it raises:

    class CostModel(Settings):
        refusal: ClassVar[str] = "cost model refused"
        half_spread_bps: float = Field(0.0, ge=0, description="Half of the bid-ask spread, in bps.")

    CostModel(half_spread_bps=-1)    # ConfigError: cost model refused: half_spread_bps: Input should be ...
    CostModel.parse(content, "costs.yaml is refused")   # ConfigError: costs.yaml is refused: half_spread_bps: ...

Settings inside settings are checked with the outer ones: one error names every place, ``costs.half_spread_bps``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lem_models.errors import ConfigError, LEMError
from lem_models.guard.text import place, shown

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
    from pydantic_core import ErrorDetails
    from typing_extensions import Self
else:
    ModelMetaclass = type(BaseModel)

__all__ = ["Settings", "problems"]

_PROBLEMS_SHOWN = 8


class _RaisesTypedErrors(ModelMetaclass):
    """Calls of a class raise its typed error; pydantic builds nested settings without a call and keeps their places."""

    def __call__(cls, /, *arguments: Any, **values: Any) -> Any:  # noqa: ANN401
        try:
            return super().__call__(*arguments, **values)
        except ValidationError as error:
            raise cls.refused(error) from None  # type: ignore[attr-defined]  # a classmethod of Settings


class Settings(BaseModel, metaclass=_RaisesTypedErrors):
    """Base class of settings: frozen, and unknown names are refused.

    Attributes:
        refusal: What the error of a call begins with.

    Raises:
        ConfigError: names every value that is wrong.

    Example:
        >>> class Band(Settings):
        ...     refusal: ClassVar[str] = "band refused"
        ...     low: float
        >>> Band(low="x", high=2)
        Traceback (most recent call last):
        lem_models.errors.ConfigError: band refused: low: Input should be a valid number, unable to parse string as a \
number; high: Extra inputs are not permitted
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    refusal: ClassVar[str] = "settings refused"

    @classmethod
    def refused(cls, error: ValidationError) -> LEMError:
        """The typed error for an error of pydantic; override it to raise another kind."""
        return ConfigError(f"{cls.refusal}: {problems(error)}")

    @classmethod
    def parse(cls, content: object, refusal: str) -> Self:
        """Settings from the content of a file.

        Args:
            content: Content of the file: values by the names of the settings.
            refusal: What the error begins with: ``"the recipe x.yaml is refused"``.

        Raises:
            ConfigError: names every value that is wrong.
        """
        if not isinstance(content, Mapping):
            raise ConfigError(f"{refusal}: it must hold settings, not {shown(content)}")
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise ConfigError(f"{refusal}: {problems(error)}") from None


def problems(error: ValidationError, locate: Callable[[tuple[int | str, ...]], str] = place) -> str:
    """The problems in an error of pydantic, on one line: ``data.0.path: Field required; data.0.weight: ...``.

    Args:
        error: The error of pydantic.
        locate: Writes the keys that lead to a value. A file format may need another way to write them.
    """
    return "; ".join(
        f"{where}: {_in_words(each)}" if (where := locate(each["loc"])) else _in_words(each)
        for each in error.errors(include_url=False)[:_PROBLEMS_SHOWN]
    )


def _in_words(error: ErrorDetails) -> str:
    """A problem in words for a reader of YAML, who need not know Python."""
    if error["type"] in ("model_type", "dict_type"):
        return f"must hold settings, not {shown(error['input'])}"
    if error["type"] == "tuple_type":
        return f"must be a list, not {shown(error['input'])}"
    return error["msg"].removeprefix("Value error, ")
