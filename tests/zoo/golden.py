"""What every bundled model decides on a market of its kind, recorded: ``golden/<name>.json``.

    python -m tests.zoo.golden            # writes the files anew, after weights were exchanged on purpose

Markets and orders are simulated from seeds. A file holds, for each bar length of the model, the fraction and the
probability of finishing that were decided for every order and period (the first :data:`PERIODS` of long ones), and what
came of it.
"""

import json
from pathlib import Path

import numpy as np

from lem_models import LEMModel, execute
from lem_models.hub.models.zoo import ZooModel, list_models
from tests.helpers import Recorder
from tests.zoo.markets import native_bars, native_orders

FOLDER = Path(__file__).with_name("golden")
ORDERS, PERIODS = 24, 24


def golden(name: ZooModel, model: LEMModel | None = None) -> dict:
    """The outputs of a model: those of the bundled weights, or of another one in its place."""
    model = model or LEMModel.from_pretrained(name)
    return {frequency: _outputs(model, name, frequency) for frequency in name.frequency.split(", ")}


def _outputs(model: LEMModel, name: ZooModel, frequency: str) -> dict:
    bars, orders = native_bars(frequency), native_orders(name, frequency, limit=ORDERS)
    recorder = Recorder(model)
    result = execute(recorder, bars, orders).orders
    live = np.arange(recorder.decisions().shape[1]) < result["max_periods"].to_numpy()[:, None]
    decisions = np.where(live[..., None], recorder.decisions(), np.nan)[:, :PERIODS]
    return {
        "mean_vwap": round(float(bars.vwap.mean()), 6),
        "max_periods": result["max_periods"].tolist(),
        "fraction": _plain(decisions[..., 0]),
        "finish": _plain(decisions[..., 1]),
        "periods_used": result["periods_used"].tolist(),
        "improvement_bps": [round(-value, 4) for value in result["slippage_bps"]],
    }


def _plain(table: np.ndarray) -> list[list[float]]:
    """Six digits; what comes after the end of an order is left out."""
    return [[round(float(value), 6) for value in row if not np.isnan(value)] for row in table]


def text(content: dict) -> str:
    """JSON with a line per order and column."""
    lines = json.dumps(content, indent=1)
    for depth in (4, 3):  # the innermost lists on one line
        lines = lines.replace("\n" + " " * depth, " ").replace("\n" + " " * (depth - 1) + "]", " ]")
    return lines + "\n"


def main() -> None:
    """Write the file of every bundled model."""
    FOLDER.mkdir(exist_ok=True)
    for name in list_models():
        path = FOLDER / f"{name}.json"
        path.write_text(text(golden(name)), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
