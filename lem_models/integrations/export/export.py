"""Write the live step of a model as a graph: ONNX, a program of ``torch.export``, or a package of AOTInductor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.guard.output import check_file, replacing
from lem_models.hub.models.registry import zoo_market
from lem_models.hub.models.zoo import list_models
from lem_models.integrations.export.description import DESCRIPTION_KEY, described, output_names
from lem_models.integrations.export.layout import MarketLayout
from lem_models.integrations.export.step import LiveStep
from lem_models.markets.calendar.frequency import clock, read_frequency
from lem_models.modeling.kernels.library import outside_kernels
from lem_models.modeling.model import LEMModel

__all__ = ["FORMATS", "OPSET", "export_model", "layout_of", "traced"]

OPSET = 18
"""Version of the operators of ONNX."""

_TRACED_ROWS = 3  # neither 0 nor 1, which torch.export takes for constants


def layout_of(
    model: LEMModel, frequency: str | None = None, slots: int | None = None, *, allow_frequency: bool = False
) -> MarketLayout:
    """The market that a model trades in a graph.

    Args:
        model: The model.
        frequency: Length of a bar; default the only one that the model was trained on.
        slots: Bars of a session in a market that closes (78 for 5-minute bars of US stocks); default those of a bundled
            model's market, or a market that never closes.
        allow_frequency: Whether the bars may have another length than those that the model was trained on.

    Raises:
        ConfigError: When no length is named and the model was trained on several, or on none that is recorded; when it
            was trained on others; when the market of a bundled model closes and the bars of a session are not named.
    """
    if frequency is None:
        if len(model.frequencies) != 1:
            known = ", ".join(model.frequencies) or "none that is recorded"
            raise ConfigError(f"name the length of a bar (--frequency): the model was trained on {known}")
        frequency = model.frequencies[0]
    frequency = clock(read_frequency(frequency))
    if model.frequencies and frequency not in model.frequencies and not allow_frequency:
        raise ConfigError(
            f"{model.name} was trained on bars of {' or '.join(model.frequencies)}, not of {frequency}: export a model "
            "for such bars, or this one nevertheless with allow_frequency=True (--any-frequency)"
        )
    if slots is None:
        bundled = next((each for each in list_models() if each == model.name), None)
        markets = [] if bundled is None else [zoo_market(name) for name in bundled.entry.evaluations]
        lengths = [m.frequency.replace("d", "D") for m in markets if m.calendar == "sessions"]
        closes = any(clock(read_frequency(length)) == frequency for length in lengths)
        if closes and read_frequency(frequency).value < read_frequency("1D").value:
            raise ConfigError(
                f"the market of {model.name} closes: name the bars of {frequency} that its sessions have (--slots), "
                "such as 78 bars of 5 minutes from 9:30 to 16:00"
            )
        slots = 1 if closes else None
    return MarketLayout.of(frequency, slots)


def export_model(
    model: LEMModel,
    out: str | Path,
    to: str = "onnx",
    *,
    frequency: str | None = None,
    slots: int | None = None,
    allow_frequency: bool = False,
    inputs: str = "bars",
) -> Path:
    """Write the live step of a model as a graph.

    Args:
        model: The model.
        out: The file.
        to: ``"onnx"``; ``"torch-export"``, a program for PyTorch without this package; ``"aoti"``, a package that
            AOTInductor compiles for the processor at hand.
        frequency: See :func:`layout_of`.
        slots: See :func:`layout_of`.
        allow_frequency: See :func:`layout_of`.
        inputs: What the graph reads: ``"bars"``, raw closed bars, and nothing else.

    Returns:
        The file.

    Raises:
        ConfigError: When the model, the market or the format cannot be exported, a package is missing, or features are
            asked for in place of bars.
        UntrainedHeadError: When the model is untrained.
    """
    if inputs != "bars":
        raise ConfigError(
            f"a graph that reads {inputs!r} is not exported: its features would be normalised outside, by other rules "
            "than the model's; it reads raw closed bars (inputs 'bars')"
        )
    if to not in FORMATS:
        raise ConfigError(f"unknown format {to!r}: a model is exported to {', '.join(FORMATS)}")
    path = Path(out)
    if to != "onnx" and path.suffix != ".pt2":
        raise ConfigError(f"PyTorch wants the name of a {to} file to end with .pt2, got {path.name!r}")
    check_file(path)
    layout = layout_of(model, frequency, slots, allow_frequency=allow_frequency)
    step = LiveStep(model, layout)
    with replacing(path) as partial:
        written = partial.with_suffix(path.suffix)  # PyTorch looks at the end of the name
        try:
            FORMATS[to](step, described(model, step, layout, OPSET if to == "onnx" else None), written)
            written.replace(partial)
        finally:
            written.unlink(missing_ok=True)
    return path


def traced(step: LiveStep) -> torch.export.ExportedProgram:
    """The step as a program of ``torch.export``, for any number of rows."""
    arguments, shapes = _arguments(step)
    with torch.no_grad(), outside_kernels():
        return torch.export.export(step, arguments, dynamic_shapes=shapes, strict=False)


def _arguments(step: LiveStep) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Example inputs, and which of their axes have any length."""
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    slots = (*step.inputs, *step.state)
    example = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1.0, "notional": 100.0}
    arguments = tuple(
        torch.full((_TRACED_ROWS,), example[slot.name], dtype=slot.dtype)
        if slot.name in example
        else slot.filled(_TRACED_ROWS)
        for slot in slots
    )
    return arguments, {"tensors": tuple({0: rows} for _ in slots)}


def _write_onnx(step: LiveStep, description: str, path: Path) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"an export to ONNX needs {' and '.join(missing)}: pip install 'lem-models[onnx]'")
    with _quiet():
        program = torch.onnx.export(
            traced(step),
            input_names=[slot.name for slot in (*step.inputs, *step.state)],
            output_names=output_names(step),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    for node in program.model.graph.all_nodes():  # where each was traced: paths of this machine, most of the file
        node.metadata_props.clear()
    program.model.metadata_props[DESCRIPTION_KEY] = description
    program.save(str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter says about itself, as of libraries that it does not find."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _write_program(step: LiveStep, description: str, path: Path) -> None:
    torch.export.save(traced(step), path, extra_files={f"{DESCRIPTION_KEY}.json": description})


def _write_package(step: LiveStep, description: str, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    settings = {"aot_inductor.metadata": {DESCRIPTION_KEY: description}}
    aoti_compile_and_package(traced(step), package_path=str(path), inductor_configs=settings)


FORMATS: dict[str, Callable[[LiveStep, str, Path], None]] = {
    "onnx": _write_onnx,
    "torch-export": _write_program,
    "aoti": _write_package,
}
"""What writes each format."""
