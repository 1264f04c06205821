"""Time and memory of TKAN beside the layers it competes with, all in one run, taking turns.

Competitors: the plain loop of the formulas (the reference of the tests), the eager loops that run without a compiler,
`torch.nn.LSTM` and `torch.nn.GRU` of the same size. The floor is the operations of TKAN's matrix products, counted, at
the rate of a large product measured in the same turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lem_models.modeling.layers.tkan import TKAN, TKANCell
from tests.modeling.plain_tkan import plain_loop

FLOOR = "floor of the products"
_PRODUCT = 1024  # rows and columns of the large product


def race(sizes: tuple[int, ...], *, batch: int, steps: int, turns: int, device: str) -> list[dict[str, Any]]:
    """Milliseconds, and megabytes kept for the backward pass, of every competitor at every size."""
    rows = []
    for size in sizes:
        torch.manual_seed(0)
        network = TKAN(size, size).to(device)
        lstm, gru = nn.LSTM(size, size, batch_first=True).to(device), nn.GRU(size, size, batch_first=True).to(device)
        x = torch.randn(batch, steps, size, device=device, requires_grad=True)
        competitors: dict[str, Callable[[Tensor], Tensor]] = {
            "plain loop": lambda x, n=network: plain_loop(n, x)[0],
            "eager": lambda x, n=network: _eager(n, x),
            "TKAN": lambda x, n=network: n(x)[0],
            "LSTM": lambda x, n=lstm: n(x)[0],
            "GRU": lambda x, n=gru: n(x)[0],
        }
        forward, both, rate = _turns(competitors, x, turns)
        # Products per step and sequence in units of size^2: gates 3 + 3, sub-layer 1 + 1, relu and 6 bases 7, output 1;
        # the backward pass has two for each.
        floor = 1e3 * 2 * 16 * batch * steps * size * size / rate
        forward[FLOOR], both[FLOOR] = floor, 3 * floor
        for name in forward:
            rows.append(
                {
                    "hidden": size,
                    "layer": name,
                    "forward_ms": forward[name],
                    "both_ms": both[name],
                    "kept_mb": None if name == FLOOR else kept_megabytes(competitors[name], x),
                    "faster_than_plain": both["plain loop"] / both[name],
                    "times_lstm": both[name] / both["LSTM"],
                }
            )
    return rows


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of a call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def kept_megabytes(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Memory that autograd keeps between forward and backward pass, weights and input included."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(x)
    return sum(kept.values()) / 1e6


def _eager(network: TKAN, x: Tensor) -> Tensor:
    outputs = x.transpose(0, 1).contiguous()
    for cell in network.cells:
        if isinstance(cell, TKANCell):
            outputs, _ = cell.looped(outputs, cell.initial_state(outputs))
    return outputs.transpose(0, 1)


def _turns(
    competitors: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor, turns: int
) -> tuple[dict[str, float], dict[str, float], float]:
    """Fastest forward pass, fastest forward + backward pass (ms), and operations per second of a large product."""
    forward, both = dict.fromkeys(competitors, float("inf")), dict.fromkeys(competitors, float("inf"))
    gradient = torch.randn_like(competitors["TKAN"](x))
    a, b = (torch.randn(_PRODUCT, _PRODUCT, device=x.device) for _ in range(2))
    out, product = torch.empty_like(a), float("inf")
    for _ in range(turns):
        for name, run in competitors.items():
            with torch.no_grad():
                forward[name] = min(forward[name], timed(lambda run=run: run(x), x.device))
            both[name] = min(both[name], timed(lambda run=run: run(x).backward(gradient), x.device))
        product = min(product, *(timed(lambda: torch.mm(a, b, out=out), x.device) for _ in range(10)))
    return forward, both, 2 * _PRODUCT**3 / (product / 1e3)
