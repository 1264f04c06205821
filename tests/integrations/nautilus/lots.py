"""Where the engine's lots and the simulator's part: ``python -m tests.integrations.nautilus.lots FOLDER TIMES``.

FOLDER has the bars of the markets. Each market's orders are executed with so many times the lots (1: as in the tests)
by the engine, by the ledger without an engine, told of fills at ticks and told of the exact VWAPs, and by the
simulator. Prints the bars in which the lots differ, a line for each model.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

from tests.integrations.nautilus.markets import MARKETS, finer, real
from tests.integrations.nautilus.runs import Fills, at_vwap, in_engine, in_ledger, in_simulator, lots_of


def apart(one: dict[str, Fills], other: dict[str, Fills], lot: Decimal) -> str:
    """Bars in which the lots differ, and by how many at most."""
    gaps = []
    for label in one:
        ours, theirs = dict(lots_of(one[label])), dict(lots_of(other[label]))
        gaps += [abs(ours.get(at, Decimal(0)) - theirs.get(at, Decimal(0))) / lot for at in ours | theirs]
    wrong = [gap for gap in gaps if gap]
    return f"{len(wrong)} (by {max(wrong):.0f})" if wrong else "0"


def main() -> None:
    folder, times = Path(sys.argv[1]), int(sys.argv[2])
    print(
        "| model | lots an order | bars traded | engine, ledger told of ticks | ledger told of VWAPs, simulator |",
        end="",
    )
    print(" engine, simulator |\n|---|---|---|---|---|---|")
    for model, market in MARKETS.items():
        market = finer(market, times)
        bars, instrument = real(market, folder)
        engine = {label: order.fills for label, order in in_engine(market, bars, instrument, model).items()}
        labels, lot = list(engine), Decimal(market.lot)
        ticks, exact = (
            in_ledger(market, bars, labels, model, at_vwap(market, rounded=is_tick)) for is_tick in (True, False)
        )
        simulator = in_simulator(market, bars, labels, model)
        lots, traded = Decimal(market.parents[0].quantity) / lot, sum(map(len, engine.values()))
        pairs = apart(engine, ticks, lot), apart(exact, simulator, lot), apart(engine, simulator, lot)
        print(f"| `{model}` | {lots:,.0f} | {traded} | {' | '.join(pairs)} |", flush=True)


if __name__ == "__main__":
    main()
