"""The jobs that the documentation teaches, drained by one worker beside the bare loop: with
a timeout, a kept result, a key, a hook, a coroutine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import floors, report
from bench.drains import filled_and_drained
from bench.jobs import Nothing
from bench.measuring import Measure, Sides, alternated, inside
from bench.ratios import texts
from bench.report import Table
from bench.sizes import Sizes
from litequeue import Job, current
from litequeue.engine.database import Synchronous

TITLE = "Ordinary jobs, drained by one worker"
# Fewer than a prefetch of a hundred: half of it would have to wait for its key.
KEYS = 50
TEXT = "the result of a job"


class WithTimeout(Job, timeout=30):
    """Has half a minute."""

    number: int

    def handle(self) -> None:
        return


class WithResult(Job, keep=3600):
    """Keeps a result for an hour."""

    number: int

    def handle(self) -> str:
        return TEXT


class Usual(Job, keep=3600, timeout=30, max_attempts=5, backoff=(1, 10, 60)):
    """Has the options that the documentation recommends together."""

    number: int

    def handle(self) -> str:
        return TEXT


class WithHook(Job):
    """Has a hook that is called after it has succeeded."""

    number: int

    def handle(self) -> None:
        return

    def succeeded(self, result: object) -> None:
        return


class Coroutine(Job):
    """Is a coroutine that never waits."""

    number: int

    async def handle(self) -> None:
        return


class InTransaction(Job):
    """Commits its own end."""

    number: int

    def handle(self) -> None:
        with current().transaction():
            pass


class Unique(Job, unique=True):
    """Is in the queue at most once."""

    number: int

    def handle(self) -> None:
        return


class ByKey(Job, without_overlapping=lambda job: f"key {job.number % KEYS}"):
    """Runs one at a time for each key."""

    number: int

    def handle(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the table."""

    what: str
    make: Callable[[int], Job]
    target: float
    prefetch: int | None = None
    synchronous: Synchronous = "normal"


KINDS = (
    Kind("plain", Nothing, 2.1),
    Kind("timeout=30", WithTimeout, 1.5),
    Kind("keep=3600, with a result", WithResult, 1.2),
    Kind("keep, timeout, max_attempts, backoff", Usual, 1.2),
    Kind("a succeeded hook", WithHook, 1.5),
    Kind("async def handle", Coroutine, 1.2),
    Kind("current().transaction()", InTransaction, 0.8),
    Kind("unique=True", Unique, 0.8),
    Kind(f"without_overlapping=, {KEYS} keys", ByKey, 0.5),
    Kind("plain, with --prefetch 1", Nothing, 0.8, prefetch=1),
    Kind('plain, synchronous="full"', Nothing, 10, synchronous="full"),
)


def ordinary(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """Each kind right beside a run of the floor, all of them once in each round."""
    count = sizes.ordinary
    quick = [kind for kind in KINDS if kind.synchronous == "normal"]
    full = [kind for kind in KINDS if kind.synchronous == "full"]
    rows = []
    # The disk takes most of the time with FULL: fewer rounds do.
    for kinds, rounds in ((quick, sizes.rounds + 2), (full, sizes.rounds)):
        sides = _measured(kinds, count, rounds, folder)
        for kind in kinds:
            row = sides.row(kind.what, kind.what, _floor(kind), count, kind.target)
            print(f"  {row.what}: {row.ours} {row.ratio}", file=sys.stderr)
            rows.append(row)
    yield report.of_ratios(rows, TITLE)


def _floor(kind: Kind) -> str:
    return f"the floor of {kind.what}"


def _measured(kinds: list[Kind], count: int, rounds: int, folder: Path) -> Sides:
    sides: dict[str, Measure] = {}
    for kind in kinds:
        sides[_floor(kind)] = inside(
            folder, partial(floors.drain, texts=texts(count), synchronous=kind.synchronous)
        )
        sides[kind.what] = inside(
            folder,
            partial(
                filled_and_drained,
                count=count,
                make=kind.make,
                prefetch=kind.prefetch,
                synchronous=kind.synchronous,
            ),
        )
    return alternated(rounds, sides)
