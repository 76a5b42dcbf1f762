"""Pages of 1 024, 2 048 and 4 096 bytes in turn, for payloads of several lengths."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

from bench.drains import drained
from bench.jobs import Text
from bench.measuring import Measure, Sides, alternated, brief, fresh, grouped, timed
from bench.payloads import bytes_written, size
from bench.report import Table
from bench.sizes import Sizes
from litequeue import Queue
from litequeue.engine import database
from litequeue.engine.checkpoint import CHECKPOINT_BYTES

PAGES = (1024, 2048, 4096)
# As much in each push_many as a WAL holds before it is checkpointed.
AT_ONCE_BYTES = CHECKPOINT_BYTES
ROW_BYTES = 100


def page_sizes(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """Few jobs in a new file, and then many in one file."""
    yield Table(
        "Page sizes, in a new file",
        ("payload", "jobs", "page", "push", "x", "drain", "x", "both", "x", "written a job"),
        [
            row
            for name, length, count, _ in sizes.pages
            for row in _new_file(name, length, count, sizes.rounds, folder)
        ],
        (
            "",
            "The median of the rounds. x: how many times as fast as with pages of 1024 bytes.",
            "both: a push and the drain of it. Checkpoints are a part of each.",
        ),
    )
    yield Table(
        "Page sizes, with many jobs in the file",
        (
            *("payload", "jobs", "page", "push_many", "file", "a job", "checkpoint"),
            *("longest", "push", "drain"),
        ),
        [
            row
            for name, length, count, many in sizes.pages
            for row in _many(name, length, count, many, sizes.rounds, folder)
        ],
        (
            "",
            "push_many: in thousands of jobs a second, 4 MB a transaction, each followed by a",
            "checkpoint; the two columns tell how long one took, which is a part of push_many.",
            "push, drain: of one job when all are there.",
        ),
    )


@dataclass(slots=True)
class _Found:
    """What was measured with one size of page, round by round."""

    drains: list[float] = field(default_factory=list)
    written: list[int] = field(default_factory=list)


def _new_file(name: str, length: int, count: int, rounds: int, folder: Path) -> Iterator[list[str]]:
    found = {page: _Found() for page in PAGES}

    def measured(page: int) -> float:
        with _queue(folder, page) as queue:
            before = bytes_written()
            seconds = _pushed(queue, length, count)
            found[page].drains.append(drained(queue, count))
            found[page].written.append(bytes_written() - before)
            return seconds

    measures: dict[str, Measure] = {str(page): partial(measured, page) for page in PAGES}
    pushes = alternated(2 * rounds + 1, measures)
    drains = Sides({str(page): found[page].drains for page in PAGES})
    both = Sides({
        page: [sum(pair) for pair in zip(pushes.seconds[page], drains.seconds[page], strict=True)]
        for page in measures
    })  # fmt: skip
    for page in PAGES:
        columns = [
            text
            for sides in (pushes, drains, both)
            for text in (
                brief(sides.middle(str(page)) / count),
                f"{sides.ratio(str(page), str(PAGES[0])):.2f}",
            )
        ]
        least = size(min(found[page].written) / count)
        yield [name, str(count), str(page), *columns, least]


def _many(
    name: str, length: int, count: int, many: int, rounds: int, folder: Path
) -> Iterator[list[str]]:
    found: dict[int, list[_Full]] = {page: [] for page in PAGES}

    def measured(page: int) -> float:
        found[page].append(_filled(length, count, many, folder, page))
        return found[page][-1].seconds

    fills = alternated(rounds, {str(page): partial(measured, page) for page in PAGES})
    for page in PAGES:
        checkpoints = [seconds for full in found[page] for seconds in full.checkpoints]
        push = statistics.median(full.push for full in found[page])
        drain = statistics.median(full.drain for full in found[page])
        length_of_file = found[page][0].size
        yield [
            name,
            grouped(many),
            str(page),
            f"{many / fills.middle(str(page)) / 1000:.1f}",
            size(length_of_file),
            size(length_of_file / many),
            brief(statistics.median(checkpoints)),
            brief(max(checkpoints)),
            brief(push / count),
            brief(drain / count),
        ]


@dataclass(frozen=True, slots=True)
class _Full:
    """What was measured of one file with many jobs."""

    seconds: float
    size: int
    checkpoints: list[float]
    push: float
    drain: float


def _filled(length: int, count: int, many: int, folder: Path, page: int) -> _Full:
    with _queue(folder, page) as queue:
        checkpoints: list[float] = []
        seconds = timed(lambda: _fill(queue, length, many, checkpoints))
        file = Path(queue.path).stat().st_size
        push = _pushed(queue, length, count)
        return _Full(seconds, file, checkpoints, push, drained(queue, count))


def _fill(queue: Queue, length: int, many: int, checkpoints: list[float]) -> None:
    text, at_once = "x" * length, max(1, AT_ONCE_BYTES // (length + ROW_BYTES))
    for start in range(0, many, at_once):
        queue.push_many(Text(text) for _ in range(min(at_once, many - start)))
        checkpoints.append(timed(queue.store.database.checkpoint))


def _pushed(queue: Queue, length: int, count: int) -> float:
    text = "x" * length
    return timed(lambda: [queue.push(Text(text)) for _ in range(count)])


@contextmanager
def _queue(folder: Path, page: int) -> Iterator[Queue]:
    """A queue on a new file with pages of this size."""
    with (
        mock.patch.object(database, "PAGE_BYTES", page),
        fresh(folder) as inside,
        Queue(inside / "jobs.db") as queue,
    ):
        assert queue.store.database.rows("pragma page_size") == [(page,)]
        yield queue
