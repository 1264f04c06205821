"""What an exported file says of itself: JSON that a reader without this package needs to run it."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import Any

import torch
from safetensors.torch import save

from lem_models.execution.records import BENCHMARKS
from lem_models.integrations.export.layout import MarketLayout
from lem_models.integrations.export.orders import CARRIED, ORDER_INPUTS
from lem_models.integrations.export.step import BAR_INPUTS, OUTPUTS, PLACE_INPUTS, LiveStep, Slot
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.model import LEMModel

__all__ = ["DESCRIPTION_KEY", "STATE_SUFFIX", "described", "output_names"]

DESCRIPTION_KEY = "lem_models"
"""Where a file keeps its description: a key of the metadata of ONNX, the stem of a file in a package of torch."""

STATE_SUFFIX = ".next"
"""What the name of a state that goes out ends with."""

_FORMAT = 1


def output_names(step: LiveStep) -> list[str]:
    """Names of the outputs of a step."""
    return [*OUTPUTS, *(slot.name + STATE_SUFFIX for slot in step.state)]


def described(model: LEMModel, step: LiveStep, layout: MarketLayout, opset: int | None) -> str:
    """The description of an exported step, JSON.

    Args:
        model: The model.
        step: Its step.
        layout: The market that it trades.
        opset: Version of the operators of ONNX; ``None`` for other formats.
    """
    meanings = {each.name: each.meaning for each in ORDER_INPUTS}

    def slot(each: Slot, kind: str) -> dict[str, Any]:
        known: dict[str, Any] = {
            "name": each.name,
            "kind": kind,
            "dtype": str(each.dtype).removeprefix("torch."),
            "shape": each.shape,
        }
        known |= {} if kind == "bar" else {"fill": each.fill}
        return known | ({"meaning": meanings[each.name]} if each.name in meanings else {})

    places = [name for name in PLACE_INPUTS if name != "start_slot"]
    content = {
        "format": _FORMAT,
        "package": f"lem_models {metadata.version('lem_models')}",
        "torch": torch.__version__,
        "opset": opset,
        "model": str(model.name),
        "weights_sha256": _weights_sha256(model),
        "config": json.loads(model.config.to_json()),
        "frequency": clock(layout.step),
        "step_ns": layout.step,
        "session_slots": layout.slots,
        "never_closes": layout.never_closes,
        "lookback": model.lookback,
        "history": step.history,
        "horizon": model.horizon,
        "benchmarks": {name: BENCHMARKS.index(name) for name in model.benchmarks},
        "assumed_impact": None if model.assumed_costs is None else model.assumed_costs.impact,
        "inputs": [slot(each, "bar" if each.name in (*BAR_INPUTS, *places) else "order") for each in step.inputs],
        "state": [slot(each, "state") for each in step.state],
        "outputs": list(OUTPUTS),
        "state_suffix": STATE_SUFFIX,
        "order_numbers": list(CARRIED),
    }
    return json.dumps(content)


def _weights_sha256(model: LEMModel) -> str:
    """Hash of the weights in the bytes of ``model.safetensors``."""
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    return hashlib.sha256(save(weights, metadata={"format": "pt"})).hexdigest()
