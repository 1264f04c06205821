"""TKAN of the package `tkan`, on Keras with the torch back end: forward, and forward and backward.

Runs in an interpreter that has `tkan` and torch; nothing of lem_models is imported. Prints one line of JSON.

    python benchmarks/peers/tkan_keras.py --hidden 32 64 --batch 64 --steps 131 --turns 2
"""

import argparse
import json
import os
import time
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from tkan import TKAN


def measure(hidden: int, batch: int, steps: int, turns: int) -> dict[str, float]:
    """Milliseconds of the fastest turn after one that warms up, and the number of trained weights."""
    # The defaults: one sub-layer, cubic splines on a grid of 3 intervals, layer norm, like ours.
    layer = TKAN(hidden, return_sequences=True)
    x = torch.randn(batch, steps, hidden, requires_grad=True)
    gradient = torch.randn(batch, steps, hidden)
    forward = both = float("inf")
    for turn in range(turns + 1):
        began = time.perf_counter()
        with torch.no_grad():
            layer(x)
        middle = time.perf_counter()
        layer(x).backward(gradient)
        end = time.perf_counter()
        if turn:
            forward, both = min(forward, middle - began), min(both, end - middle)
    weights = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)
    return {"hidden": hidden, "forward_ms": 1e3 * forward, "both_ms": 1e3 * both, "weights": weights}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64, 200])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=131)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = [measure(hidden, options.batch, options.steps, options.turns) for hidden in options.hidden]
    versions = {name: version(name) for name in ("tkan", "keras", "torch")}
    print(json.dumps({"versions": versions, "threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
