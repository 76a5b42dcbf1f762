"""Puts the tables of the last results into docs/performance.md: python -m bench.page, with
further files of results for the tables that those do not have.

On the page, a table stands in a block of text, and is known by its title.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
# Where two have a table of one title, the page shows that of the later one.
RESULTS = tuple(ROOT / "bench" / name for name in ("apart.txt", "peers.txt", "results.txt"))

BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^(\S.*)\n-{4,}$", re.MULTILINE)


def tables(text: str) -> dict[str, str]:
    """The tables of a result file, by their titles; what stands above the first of them
    goes by the first line of the file."""
    found = list(TITLE.finditer(text))
    starts = [0, *(title.start() for title in found)]
    ends = [*starts[1:], len(text)]
    titles = [text.partition("\n")[0], *(title[1] for title in found)]
    parts = (text[start:end] for start, end in zip(starts, ends, strict=True))
    return {title: f"{part.strip()}\n" for title, part in zip(titles, parts, strict=True)}


def refreshed(page: str, found: dict[str, str]) -> str:
    """The page with the tables as they were found, where there is one of that title."""
    return BLOCK.sub(lambda block: _block(block[1], found), page)


def _block(text: str, found: dict[str, str]) -> str:
    return f"```text\n{found.get(text.partition(chr(10))[0], text)}```"


def main(further: Sequence[str] = ()) -> None:
    """Rewrite the page."""
    found: dict[str, str] = {}
    for path in (*map(Path, further), *RESULTS):
        if path.exists():
            found |= tables(path.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(refreshed(page, found), encoding="utf-8")
    missing = [title for title in found if f"```text\n{title}\n" not in page]
    for title in missing:
        print(f"{PAGE.name} has no block for: {title}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
