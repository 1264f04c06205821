"""Slippage of a model beside the baselines and the martingale null: `lem benchmark` as a script.

    python benchmarks/slippage.py --model lem-crypto-hourly --data crypto_hourly.parquet --out reports/benchmark

`--help` lists everything that can be set. On the file of a market of the zoo, days of its test period are a look, which
goes into the log (`benchmarks/looks.py`).
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.looks import MarketBars, open_file
from lem_models.cli.app import main
from lem_models.errors import ConfigError


def logged(arguments: list[str]) -> tuple[MarketBars | None, Path]:
    """The look that a command takes, if it has data, and the folder of its report."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmark"))
    parser.add_argument("--start")
    parser.add_argument("--end")
    given, _ = parser.parse_known_args(arguments)
    if given.data is None or not given.data.is_file():
        return None, given.out
    command = f"python benchmarks/slippage.py --model {Path(given.model).name} --data {given.data.name}"
    try:
        return open_file(given.data, given.start, given.end, models=[], command=command), given.out
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    look, out = logged(sys.argv[1:])
    sys.argv[1:1] = ["benchmark"]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
    if look is not None:
        rows = json.loads((out / "summary.json").read_text(encoding="utf-8"))["comparison"]
        look.report(
            sum(row["orders"] for row in rows), f"{rows[0]['policy']}: {rows[0]['mean_vol']:.3f} bar volatilities"
        )
