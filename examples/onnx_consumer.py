"""Decide one order with an exported model.

    python onnx_consumer.py MODEL.onnx BARS.csv START side=-1 min_periods=1 max_periods=12

BARS.csv has timestamp (start of the bar, UTC), open, high, low, close, volume, notional; session and slot too if the
market closes. START is the bar with which the order begins; bars before it warm the state up. Needs numpy, onnxruntime.
"""

import csv
import json
import sys

import numpy as np
import onnxruntime

file, bars, start, *settings = sys.argv[1:]
session = onnxruntime.InferenceSession(file)
about = json.loads(session.get_modelmeta().custom_metadata_map["lem_models"])
names = [output.name for output in session.get_outputs()]
order = {name: float(value) for name, value in (setting.split("=") for setting in settings)}
print(f"{about['model']}: bars of {about['frequency']}, {about['lookback']} to {about['history']} before an order")


def tensor(slot: dict, value: object = None) -> np.ndarray:
    """One row of an input; without a value, what the file says stands for nothing."""
    return np.full((1, *slot["shape"]), slot["fill"] if value is None else value, dtype=slot["dtype"])


state = {slot["name"]: tensor(slot) for slot in about["state"]}
with open(bars, encoding="utf-8") as table:
    rows = list(csv.DictReader(table))
for row, following in zip(rows, [*rows[1:], {"timestamp": ""}], strict=True):
    row["timestamp"] = np.datetime64(row["timestamp"][:19], "ns").astype(np.int64)
    begins = following["timestamp"][:16] == start[:16]
    given = {**row, **order, "begin": begins, "start_slot": following.get("slot", 0)}
    inputs = {slot["name"]: tensor(slot, given.get(slot["name"])) for slot in about["inputs"]}
    answer = dict(zip(names, session.run(None, {**inputs, **state}), strict=True))
    state = {name: answer[name + about["state_suffix"]] for name in state}
    if answer["fraction"][0] != 0:  # NaN: too few bars before the order, or a rule is broken
        print(following["timestamp"], f"{answer['fraction'][0]:.6f}", "finish" if answer["finish"][0] else "")
