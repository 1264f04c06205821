"""Sources that are asked symbol by symbol, and what is kept of a download that was interrupted.

The table of each symbol is kept in the folder of the request until the bars are written. If the same command is given
again, symbols that are there are not asked for again. A table counts only for the same symbol, interval, period,
options and address, and if its file is whole.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lem_models.guard.hashes import file_sha256
from lem_models.guard.output import to_json
from lem_models.guard.text import read_json
from lem_models.markets.download.source import Fetched, Report, Source
from lem_models.markets.storage.files import read_table, write_table

__all__ = ["SymbolSource"]


class SymbolSource(Source):
    """A source that gives the bars of one symbol at a time, through a client."""

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols of the request."""
        return self.request.names

    def connected(self) -> AbstractContextManager[Any]:
        """A context with the client of the vendor; by default ``None``."""
        return nullcontext()

    @abstractmethod
    def fetch(self, client: Any, symbol: str, report: Report) -> Fetched:  # noqa: ANN401 (clients have no types)
        """The closed bars of one symbol, at least one.

        Args:
            client: What :meth:`connected` gives.
            symbol: The symbol.
            report: May be called as bars arrive.

        Raises:
            DownloadError: The source fails, or has no bars of the symbol.
        """

    def tables(self, report: Report) -> Iterator[Fetched]:
        """See :meth:`Source.tables`."""
        total = len(self.symbols)
        report("symbols", 0, total)
        paths = {symbol: self._path(symbol) for symbol in self.symbols}
        kept = {symbol: _read(path) for symbol, path in paths.items()}
        missing = [symbol for symbol, fetched in kept.items() if fetched is None]
        with self.connected() if missing else nullcontext() as client:
            for number, symbol in enumerate(self.symbols):
                fetched = kept.pop(symbol)
                if fetched is None:
                    fetched = self.fetch(client, symbol, report)
                    _keep(fetched, paths[symbol])
                report("symbols", number + 1, total)
                yield fetched

    def _path(self, symbol: str) -> Path:
        """File of a table, named by everything that it depends on."""
        # A period that ends now ends with the last closed bar, also some minutes later.
        end = self.period.end.floor(self.interval) if self.period.end == self.request.now else self.period.end
        period = [self.period.start.isoformat(), end.isoformat()]
        content = [symbol, str(self.interval), period, self.chosen, self.facts(), self.addresses()]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return self.request.folder / f"{self.name}-{digest[:32]}.parquet"


def _keep(fetched: Fetched, path: Path) -> None:
    """Write a table and what is known of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(fetched.table, path)
    # Written last: it says that the table is whole.
    facts = {"sha256": file_sha256(path), "notes": fetched.notes, "repairs": fetched.repairs}
    to_json(facts, path.with_suffix(".json"))


def _read(path: Path) -> Fetched | None:
    """Read a table that was kept; ``None`` if there is none, or if it is damaged."""
    try:
        facts = read_json(path.with_suffix(".json"))
        if facts["sha256"] != file_sha256(path):
            return None
        notes, repairs = list(map(str, facts["notes"])), {str(key): int(n) for key, n in facts["repairs"].items()}
        return Fetched(read_table(path), notes=notes, repairs=repairs)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
