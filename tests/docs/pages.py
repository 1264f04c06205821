"""The pages of the documentation: their blocks of code, links and commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

NOT_RUN = "# not run by the tests: "
"""First line of a block of Python that the tests do not run; the reason follows."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        text = self.text
        return [Block(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in _FENCE.finditer(text)]

    @property
    def python(self) -> list[Block]:
        """Blocks of Python that run."""
        return [b for b in self.blocks if b.language == "python" and not b.text.startswith(NOT_RUN)]

    @property
    def links(self) -> list[str]:
        """Targets of links that lead into the repository."""
        return [target for target in _LINK.findall(self.prose) if "://" not in target]

    @property
    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @property
    def commands(self) -> list[str]:
        """Command lines: the console blocks and the inline code, continued lines joined, comments left out."""
        texts = [b.text for b in self.blocks if b.language in ("", "console", "bash")]
        texts += re.findall(r"`([^`]+)`", self.prose)
        lines = [line for text in texts for line in self._lines(text)]
        return [line for line in lines if re.match(r"(lem|python|make|torchrun|srun) ", line)]

    @staticmethod
    def _lines(text: str) -> list[str]:
        joined = re.sub(r"\s*\\\n\s*|\n(?=benchmarks/)", " ", text)
        return [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]


PAGES = [
    Page(path)
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
]
