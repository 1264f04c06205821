"""What the package says, in the words of the page: options of Python and the command line become its fields."""

from __future__ import annotations

import re

from lem_models.errors import BarsError, LEMError

__all__ = [
    *("ANY_FREQUENCY", "CAP", "END", "HOURS", "LOT", "READING", "REPAIRS", "SHORTEST", "SYMBOL", "ZONE"),
    *("in_words", "note_in_words"),
]

READING = "How the file is read"
SYMBOL, ZONE, HOURS, REPAIRS = "Symbol", "Zone of times without one", "Trading hours", "Repairs"
END, SHORTEST, LOT, CAP = "End", "Not before", "Lot (units)", "Cap"
ANY_FREQUENCY = "Run a model also on bars of a length that it was not trained on"

_FIELDS = {"max_duration": END, "min_duration": SHORTEST, "lot_size": LOT, "max_participation": CAP}
_PLACES = {
    **{
        option: f"{field!r} under {READING!r}"
        for option, field in (("--symbol", SYMBOL), ("--tz", ZONE), ("--calendar", HOURS), ("--repair", REPAIRS))
    },
    "--any-frequency": f"the box {ANY_FREQUENCY!r}",
}
_OPTION = re.compile(r"\((--[a-z-]+)")
_NAME = re.compile(rf"\b({'|'.join(_FIELDS)})\b")
_TARGET = ", or the number alone with target='quantity' or target='notional'"  # the form has no such field


def in_words(error: LEMError) -> str:
    """An error with the names of the form's fields, and with the place on the page where its cure is."""
    if isinstance(error, BarsError) and error.rule == "known format":
        reason = error.message.partition("; name one, format=")[0]
        return (
            f"{reason}. Rename the columns to timestamp, symbol, open, high, low, close, volume and, if known, notional"
        )
    text = _NAME.sub(lambda name: _FIELDS[name[0]], str(error).replace(_TARGET, ""))
    options = list(dict.fromkeys(_OPTION.findall(text)))
    if not options:
        return text
    places = [_PLACES[option] for option in options if option in _PLACES]
    if places:
        return f"{text}. On this page: {', or '.join(places)}"
    return f"{text}. This page has no such setting: change the file, or use the package on your own machine"


def note_in_words(note: str) -> str:
    """A note without the clauses that name an option of the command line which the page does not have."""
    clauses = note.split("; ")
    kept = [clause for clause in clauses if _options_are_here(clause)]
    return "; ".join(kept) or note


def _options_are_here(clause: str) -> bool:
    return all(option in _PLACES for option in _OPTION.findall(clause))
