"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.measuring import Row


@dataclass(frozen=True, slots=True)
class Table:
    """One table with its title, and what is to be said of it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        """The table, the first column to the left and the others to the right."""
        cells = [list(self.heads), *(list(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.heads))]
        yield self.title
        yield "-" * len(self.title)
        for row in cells:
            first, *others = row
            columns = [first.ljust(widths[0])]
            columns += [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
            yield "  ".join(columns).rstrip()
        yield from self.notes
        yield ""


def of_ratios(rows: Iterable[Row], title: str = "Ratios") -> Table:
    """The table in which each figure stands beside its floor and its target."""
    answers = {None: "", True: "yes", False: "NO"}
    return Table(
        title,
        ("what", "litequeue", "beside it", "ratio", "best", "target", "reached"),
        [
            (row.what, row.ours, row.beside, row.ratio, row.best, row.target, answers[row.reached])
            for row in rows
        ],
        (
            "",
            "ratio: the median over the rounds, in which both sides ran in turn. best: both sides",
            "at their best. The median decides whether the target is reached.",
        ),
    )
