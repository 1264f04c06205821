"""Downloads of bars from archives, exchanges and vendors, with a record of where they come from."""

from lem_models.markets.download.fetch import SOURCES, Download, fetch_bars
from lem_models.markets.download.record import record_of, terms_of

__all__ = ["SOURCES", "Download", "fetch_bars", "record_of", "terms_of"]
