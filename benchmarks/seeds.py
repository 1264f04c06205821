"""The gain of a recipe whatever the training seed: models that differ in their seed only, on the same orders.

    python benchmarks/seeds.py --models seed0 seed1 seed2 --data bars.parquet --against twap --out seeds.json
    python benchmarks/seeds.py --show seeds.json      # the table of a record again, in Markdown

At least three models (folders, Hub ids or bundled names), trained with the same recipe and different seeds. All of them
and the policies that they are compared with execute the same orders. Per benchmark, target and minimum duration the
table gives the mean over seeds, an interval over days and seeds together, the standard deviation between seeds, and the
worst and the best seed; then the same minus each of the other policies, order by order.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.looks import open_file
from benchmarks.records import write_record
from lem_models import Bars, LEMModel, load_policy
from lem_models.errors import ConfigError, LEMError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.guard.text import read_json
from lem_models.report.console import rich_table
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval
from lem_models.report.tables import Column, Table
from lem_models.statistics.seeds import MIN_SEEDS, across_seeds

KEYS = {"benchmark": "benchmark", "target": "target", "min_periods": "min"}
_MOST_BYTES = 1 << 24


def load_seeds(names: list[str]) -> dict[str, LEMModel]:
    """Models of one configuration, by the names they were asked for with."""
    if len(set(names)) < MIN_SEEDS:
        raise ConfigError(f"a claim about a recipe needs models of at least {MIN_SEEDS} training seeds, got {names}")
    models = {name: LEMModel.from_pretrained(name) for name in names}
    first, config = next((name, model.config) for name, model in models.items())
    for name, model in models.items():
        if model.config != config:
            raise ConfigError(f"{name} and {first} are configured differently; models may differ in their seed only")
    return models


def measure(names: list[str], against: list[str], bars: Bars, settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Tables of the improvement, and of the difference from each other policy."""
    models = load_seeds(names)
    policies = {**models, **{name: load_policy(name) for name in against}}
    benchmark = run_benchmark(policies, bars, settings, progress=lambda text, *_: print(text))
    if benchmark is None:
        return []  # rank 0 has the results
    seeds = {name: benchmark.orders[name] for name in models}
    shared = {"draws": settings.bootstrap, "seed": settings.seed}
    tables = [{"against": None, "rows": across_seeds(seeds, list(KEYS), **shared)}]
    for name in against:
        tables.append(
            {"against": name, "rows": across_seeds(seeds, list(KEYS), against=benchmark.orders[name], **shared)}
        )
    return tables


def seeds_table(frame: pd.DataFrame, title: str) -> Table:
    """Both units of one table, for the terminal."""
    columns = [Column(name, label) for name, label in KEYS.items()] + [Column("orders", "orders")]
    for unit, label, form in (("bps", "bps", ".2f"), ("vol", "bar vol.", ".3f")):
        signed = f"{{:+{form}}}"
        columns += [
            Column(f"mean_{unit}", label, signed),
            Column((f"low_{unit}", f"high_{unit}"), "95 %", f"{signed} {signed}"),
            Column(f"between_{unit}", "between seeds", f"{{:{form}}}"),
            Column(f"worst_{unit}", "worst", signed),
            Column(f"best_{unit}", "best", signed),
        ]
    return Table(frame, columns, title=title)


def shown(path: Path) -> str:
    """The table of a record in Markdown: improvements over all seeds, in bar volatilities, and minus each policy's.

    Raises:
        ConfigError: If it is not a record of this script.
    """
    try:
        record = read_json(path, _MOST_BYTES)
        own, *others = record["tables"]
        frame = pd.DataFrame(own["rows"])
        columns = [
            Column("min_periods", "minimum"),
            Column("orders", "orders"),
            Column("mean_vol", "mean", "{:+.3f}"),
            Column(("low_vol", "high_vol"), "95 %, days and seeds", "{:+.3f} {:+.3f}"),
            Column("between_vol", "std between seeds", "{:.3f}"),
            Column(("worst_vol", "best_vol"), "worst, best seed", "{:+.3f} {:+.3f}"),
        ]
        for other in others:
            name = other["against"]
            rows = pd.DataFrame(other["rows"])
            frame[name] = [interval(*row) for row in rows[["mean_vol", "low_vol", "high_vol"]].to_numpy()]
            columns.append(Column(name, f"minus {name}"))
        return f"{record['data']['file']}, {len(record['models'])} seeds\n\n{markdown_table(Table(frame, columns))}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no record of benchmarks/seeds.py: {error}") from None


def main() -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, nargs="+", help="records: print their tables and measure nothing")
    parser.add_argument("--models", nargs="+", help="models that differ in their training seed only")
    parser.add_argument("--data", type=Path, help="bars")
    parser.add_argument("--against", nargs="*", default=["twap", "stopping_rule"], help="policies to compare with")
    parser.add_argument("--start", help="first day, inclusive")
    parser.add_argument("--end", help="day by which orders have ended, exclusive")
    parser.add_argument("--every", default="6", help="step between starts: '6h', or a number of bars")
    parser.add_argument("--min-periods", type=int, nargs="+", default=[1, 3, 6, 9, 12])
    parser.add_argument("--max-periods", type=int, default=12)
    parser.add_argument("--benchmark", nargs="+", default=["vwap"], choices=["vwap", "twap"])
    parser.add_argument("--target", nargs="+", default=["quantity"], choices=["quantity", "notional"])
    parser.add_argument("--limit", type=int, default=100_000, help="orders at most; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of orders and of the bootstrap")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    if given.show:
        try:
            print("\n\n".join(map(shown, given.show)))
        except LEMError as error:
            parser.error(str(error))
        return
    if not given.models or not given.data:
        parser.error("name the --models and the --data, or records to --show")
    names = ("min_periods", "max_periods", "benchmark", "target", "start", "end", "seed")
    settings = {name: tuple(v) if isinstance(v := getattr(given, name), list) else v for name in names}
    settings["every"] = int(given.every) if given.every.isdigit() else given.every
    console = Console()
    try:
        settings = BenchmarkSettings(**settings, limit=given.limit or None, null=0, information=0, placebos=())
        command = (
            f"python benchmarks/seeds.py --models {' '.join(Path(name).name for name in given.models)} --data FILE"
        )
        opened = open_file(given.data, given.start, given.end, models=given.models, command=command)
        bars = opened.bars
        tables = measure(given.models, given.against, bars, settings)
    except LEMError as error:
        parser.error(str(error))
    if not tables:
        return
    first = tables[0]["rows"].iloc[0]
    found = interval(first["mean_vol"], first["low_vol"], first["high_vol"])
    opened.report(int(tables[0]["rows"]["orders"].sum()), f"minimum {first['min_periods']}: {found} bar volatilities")
    for table in tables:
        what = "Improvement" if table["against"] is None else f"Improvement minus that of {table['against']}"
        console.print(rich_table(seeds_table(table["rows"], f"\n{what}, {len(given.models)} training seeds")))
    console.print(f"{SIGN_CONVENTION}\nIntervals cover days and seeds.", style="dim")
    if given.out is not None:
        record = {
            "command": command,
            "sign": SIGN_CONVENTION,
            "models": [Path(name).name for name in given.models],
            "settings": settings.model_dump(mode="json"),
            "data": {"file": given.data.name, "content_hash": bars.content_hash, "bars": len(bars)},
            "symbols": list(bars.symbols),
            "tables": tables,
        }
        console.print(f"{write_record(record, given.out)}", soft_wrap=True)


if __name__ == "__main__":
    main()
