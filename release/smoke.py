"""What an installed package must do. ``release/check.py`` runs it in clean environments.

``smoke.py decide OUT``: decisions of a model on real bars as JSON, with the kernels that made them and the log.
``smoke.py without-torch``: what works without torch, which is bars, orders, the list of models and the commands' help.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


def decide(out: Path) -> None:
    """Write decisions of a bundled model, and what computed them."""
    log = _Lines()
    logging.getLogger("lem_models").addHandler(log)
    import torch

    import lem_models
    from lem_models import Bars, LEMModel, Order, execute, list_models
    from lem_models.modeling.kernels.library import kernels

    torch.set_num_threads(2)
    for name in list_models():
        LEMModel.from_pretrained(name)
    bars = Bars.sample("us-index-daily")
    orders = Order.sample(bars, every=40, side="both", min_periods=[1, 6, 12], max_periods=12)
    result = execute(LEMModel.from_pretrained("lem-dow-daily"), bars, orders)
    library = kernels(torch.float32)
    content = {
        "version": lem_models.__version__,
        "package": str(Path(lem_models.__file__).parent),
        "torch": torch.__version__,
        "kernels": None if library is None else str(library.path),
        "log": [line for line in log.lines if "ernel" in line],
        "orders": len(result.orders),
        "schedule": result.schedule[["order_id", "period", "fraction"]].to_numpy(dtype=float).tolist(),
    }
    out.write_text(json.dumps(content), encoding="utf-8")


def without_torch() -> None:
    """Use everything that needs no torch."""
    import importlib.util

    if importlib.util.find_spec("torch") is not None:
        raise SystemExit("torch is installed: this check is for environments without it")
    from lem_models import Bars, Order, list_models
    from lem_models.cli.app import main

    bars = Bars.sample("us-index-daily")
    orders = Order.sample(bars, every=40, max_periods=12)
    if not len(orders) or len(list_models()) < 1:
        raise SystemExit("no orders or no models")
    print(list_models())
    for arguments in (["--version"], ["list"], ["--help"]):
        sys.argv = ["lem", *arguments]
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise


if __name__ == "__main__":
    if sys.argv[1:2] == ["decide"]:
        decide(Path(sys.argv[2]))
    else:
        without_torch()
