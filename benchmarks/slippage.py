"""Slippage of a model beside the baselines and the martingale null: `lem benchmark` as a script.

    python benchmarks/slippage.py --model lem-crypto-hourly --data crypto_hourly.parquet --out reports/benchmark

`--help` lists everything that can be set.
"""

import sys

from lem_models.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["benchmark"]
    main()
