"""The licence of published bars: the publisher states it, it is never guessed.

The Hub knows licences by short names (https://huggingface.co/docs/hub/repositories-licenses). Terms without a short
name are given as a text. A single word that is not a short name is refused as a misspelling.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from lem_models.errors import BarsError

__all__ = ["Licence", "is_licence_name", "read_licence", "unknown_licence"]

_KNOWN = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community h-research
intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit
mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 pddl postgresql unlicense wtfpl zlib
"""
_NAMES = frozenset(_KNOWN.split())
"""``unknown`` and ``other`` are names of the Hub too, but do not name terms."""
_EMPTY = frozenset({"", "none", "no", "n/a", "na", "null", "nan", "tbd", "todo", "?", "-"})
_HOW = (
    "pass licence= (on the command line --licence) with a name that the Hub knows, such as 'cc-by-4.0' or 'mit', or "
    "with the terms in words: 'other: personal use only, https://example.org/terms'"
)


@dataclass(frozen=True)
class Licence:
    """A licence.

    Attributes:
        name: Short name on the Hub; ``"other"`` for terms without one.
        text: The terms in words; empty for a licence with a name.
    """

    name: str
    text: str = ""

    def __str__(self) -> str:
        """The licence as a card states it."""
        return f"{self.name}: {self.text}" if self.text else self.name


def read_licence(licence: str | None) -> Licence:
    """Read a licence from a user.

    Raises:
        BarsError: It is empty, does not name terms (``"unknown"``, ``"other"`` without a text), or is misspelt.

    Example:
        >>> read_licence("CC-BY-4.0")
        Licence(name='cc-by-4.0', text='')
        >>> str(read_licence("other: personal use only"))
        'other: personal use only'
    """
    text = " ".join(licence.split()) if isinstance(licence, str) else ""
    if text.lower() in _EMPTY:
        raise BarsError(f"bars are not published without a licence; {_HOW}", rule="licence")
    kind, _, rest = text.partition(":")
    if kind.strip().lower() in ("other", "unknown"):
        if kind.strip().lower() == "unknown" or not re.search(r"\w{2}", rest):
            raise BarsError(
                f"the licence {licence!r} does not say what readers may do with the bars; {_HOW}", rule="licence"
            )
        return Licence("other", rest.strip())
    if text.lower() in _NAMES:
        return Licence(text.lower())
    if " " in text:
        return Licence("other", text)
    raise BarsError(f"{unknown_licence(licence)} {_HOW}", rule="licence")


def is_licence_name(text: str) -> bool:
    """Whether the Hub has a licence of this short name; ``other`` is one."""
    return text in _NAMES or text == "other"


def unknown_licence(licence: object) -> str:
    """What to say of a licence that the Hub does not know, with the names that are close; ends with ``;`` or ``?``."""
    text = " ".join(str(licence).split())
    close = difflib.get_close_matches(text.lower(), sorted(_NAMES), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ";"
    return f"the Hub knows no licence {licence!r}{hint}"
