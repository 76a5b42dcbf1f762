"""synchronous=NORMAL beside FULL, which waits for the disk at each commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import floors
from bench.drains import filled_and_drained
from bench.measuring import alternated, inside, per_second
from bench.ratios import pushed, pushed_at_once, texts
from bench.report import Table
from bench.sizes import Sizes

PART = 0.25


def syncing(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """The same three as in the table of ratios, smaller."""
    pushes, bulk, drain = (
        max(1, int(PART * count)) for count in (sizes.pushes, sizes.bulk, sizes.drain)
    )
    rows = [
        _line("push, one by one", pushes, pushed, floors.pushes, sizes.rounds, folder),
        _line("push_many", bulk, pushed_at_once, floors.bulk, sizes.rounds, folder),
        _line("drain by one worker", drain, filled_and_drained, floors.drain, sizes.rounds, folder),
    ]
    yield Table(
        "Waiting for the disk at each commit",
        ("what", "NORMAL", "FULL", "FULL / NORMAL", "bare, FULL", "FULL / bare"),
        rows,
        ("", "The last column has litequeue beside the bare loop, both with synchronous=FULL."),
    )


def _line(
    what: str,
    count: int,
    ours: Callable[..., float],
    bare: Callable[..., float],
    rounds: int,
    folder: Path,
) -> list[str]:
    sides = alternated(
        rounds,
        {
            "normal": inside(folder, partial(ours, count=count, synchronous="normal")),
            "full": inside(folder, partial(ours, count=count, synchronous="full")),
            "bare": inside(folder, partial(bare, texts=texts(count), synchronous="full")),
        },
    )
    rates = {side: per_second(count, sides.middle(side)) for side in sides.seconds}
    return [
        what,
        rates["normal"],
        rates["full"],
        f"{sides.ratio('full', 'normal'):.2f}",
        rates["bare"],
        f"{sides.ratio('full', 'bare'):.2f}",
    ]
