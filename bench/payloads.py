"""What larger payloads cost, in time and in bytes written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import floors
from bench.drains import drained
from bench.jobs import Text
from bench.measuring import Sides, alternated, brief, fresh, timed
from bench.report import Table
from bench.sizes import Sizes
from litequeue import Queue


def payloads(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """One by one pushed, then drained by one worker, beside the bare loops."""
    yield Table(
        "Payloads",
        ("payload", "jobs", "push", "bare", "ratio", "drain", "bare", "ratio", "written a job"),
        [
            _line(name, length, count, sizes.rounds, folder)
            for name, length, count in sizes.payloads
        ],
        (
            "",
            "ratio: how many times as fast as the bare loop. written a job: all that the process",
            "handed to the kernel from push to end, checkpoints among it, in its best round.",
        ),
    )


def _line(name: str, length: int, count: int, rounds: int, folder: Path) -> list[str]:
    text = "x" * length
    written: list[int] = []
    drains: dict[str, list[float]] = {"ours": [], "bare": []}

    def ours() -> float:
        with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
            before = bytes_written()
            seconds = timed(lambda: [queue.push(Text(text)) for _ in range(count)])
            drains["ours"].append(drained(queue, count))
            written.append(bytes_written() - before)
            return seconds

    def bare() -> float:
        texts = [f'{{"text":"{text}"}}'] * count
        with fresh(folder) as inside:
            drains["bare"].append(floors.drain(inside, texts))
        with fresh(folder) as inside:
            return floors.pushes(inside, texts)

    pushes = alternated(rounds, {"bare": bare, "ours": ours})
    columns = [*_beside(pushes, count), *_beside(Sides(drains), count)]
    return [name, str(count), *columns, size(min(written) / count)]


def _beside(sides: Sides, count: int) -> list[str]:
    times = [brief(sides.middle(side) / count) for side in ("ours", "bare")]
    return [*times, f"{sides.ratio('ours', 'bare'):.2f}"]


def bytes_written() -> int:
    """How much this process has handed to the kernel so far; 0 where nothing says it."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def size(number: float) -> str:
    """A number of bytes, to be read: 4.4 kB, 1.9 MB."""
    return f"{number / 1024:.1f} kB" if number < 1024**2 else f"{number / 1024**2:.1f} MB"
