"""A data set of bars on the Hugging Face Hub, of parquet files, at one commit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import ClassVar

import pandas as pd

from lem_models.errors import BarsWarning, ConfigError, DownloadError
from lem_models.guard.hub_ids import check_hub_id
from lem_models.guard.output import Json
from lem_models.markets.bars import Bars
from lem_models.markets.download.source import Fetched, Planned, Report, Request, Source

__all__ = ["HubDataset"]


class HubDataset(Source):
    """Bars of a data set on the Hub; names after the first one are symbols to take, by default all."""

    name = "hub"
    packages = ("huggingface-hub",)
    terms = "those of the data set"
    notional = "that of the data set"
    needs_period = False
    options: ClassVar = {"split": "train", "revision": None}

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            UnknownNameError: The first name does not have the form ``org/name``.
            ConfigError: An interval is named, or no data set.
        """
        super().__init__(request)
        if not request.names:
            raise ConfigError("name a data set: lem data fetch hub org/data ...")
        if request.interval is not None:
            raise ConfigError("a data set on the Hub has bars of one length: leave --interval out")
        if request.addresses:
            raise ConfigError("the address of the Hub is that of its own client: set HF_ENDPOINT")
        self._repo_id = check_hub_id(request.names[0], "data set")
        self._symbols = list(request.names[1:])
        self._split, self._revision = str(self.chosen["split"]), self.chosen["revision"]
        self._commit = ""

    def facts(self) -> dict[str, Json]:
        """Data set, split and commit."""
        return {"data_set": self._repo_id, "split": self._split, "revision": self._commit or self._revision}

    def plan(self) -> list[Planned]:
        """The data set; nothing is asked."""
        period = "all" if self.request.period is None else str(self.request.period)
        what = f"the split {self._split}" + (f" at {self._revision}" if self._revision else "")
        names = ", ".join(self._symbols) or "all symbols"
        return [Planned(names, what, period, f"hf://datasets/{self._repo_id}")]

    def tables(self, report: Report) -> Iterator[Fetched]:
        """The bars of each symbol.

        Raises:
            LEMError: The Hub fails, or the data set is none of bars.
            UnknownNameError: A symbol is missing.
            DownloadError: A symbol has no bars in the period.
        """
        revision = None if self._revision is None else str(self._revision)
        stream = Bars.from_hub(self._repo_id, split=self._split, revision=revision, streaming=True)
        self._commit = stream.revision
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BarsWarning)  # the bars are checked again when they are written
            bars = stream.read()
        if self._symbols:
            bars = bars.select(self._symbols)
        self.calendar, self.frequency = bars.calendar_names, bars.frequency
        exact = "notional_exact" in bars.columns
        for number, symbol in enumerate(bars.symbols):
            report("symbols", number, len(bars.symbols))
            table: pd.DataFrame = bars.select(symbol).frame
            fetched = Fetched(table)
            if self.request.period is not None:
                start = table["timestamp"]
                inside = (start >= self.request.period.start) & (start < self.request.period.end)
                fetched.table = table[inside].reset_index(drop=True)
            if fetched.table.empty:
                raise DownloadError(f"{self._repo_id} has no bars of {symbol} in {self.request.period}")
            if not exact:
                fetched.notes.append(f"{symbol}: the data set does not say whether its notional is exact")
            yield fetched
        report("symbols", len(bars.symbols), len(bars.symbols))
