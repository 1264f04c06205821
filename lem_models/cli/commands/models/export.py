"""``lem export``: write the live step of a model as a graph for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from lem_models.cli.output import Output
from lem_models.cli.policies import ANY_FREQUENCY, BundledName
from lem_models.guard.settings import Settings

__all__ = ["ExportOptions", "export"]


class ExportOptions(Settings):
    """Options of ``lem export``."""

    model: Annotated[BundledName, typer.Argument()] = Field(description="Bundled name, folder, or Hub id of a model.")
    to: Literal["onnx", "torch-export", "aoti"] = Field("onnx", description="onnx, torch-export or aoti.")
    out: Path = Field(description="The file: .onnx, or .pt2 for the formats of PyTorch.")
    frequency: str | None = Field(
        None, description="Length of a bar, e.g. 1h; default the one that the model was trained on."
    )
    slots: int | None = Field(None, ge=1, description="Bars of a session in a market that closes, e.g. 78 of 5min.")
    any_frequency: bool = Field(False, description=ANY_FREQUENCY)
    inputs: str = Field("bars", description="What the graph reads: raw closed bars; features are refused.")


def export(options: ExportOptions, out: Output) -> None:
    """Write the live step of a model as one graph: raw bars, orders and state in; decisions and state out.

    examples/onnx_consumer.py runs an ONNX file without this package. ONNX needs the extra lem-models[onnx].

    Example: lem export lem-crypto-hourly --out hourly.onnx
    """
    from lem_models.integrations.export import export_model
    from lem_models.modeling.model import LEMModel

    model = LEMModel.from_pretrained(options.model)
    path = export_model(
        model,
        options.out,
        options.to,
        frequency=options.frequency,
        slots=options.slots,
        allow_frequency=options.any_frequency,
        inputs=options.inputs,
    )
    size = path.stat().st_size
    out.say(f"{path.resolve()}: {size / 1e6:.1f} MB", file=path.resolve(), bytes=size)
