"""What every measurement here does: two sides in alternation, and the ratio between them.

Microseconds differ from machine to machine and from minute to minute. So both sides of a
ratio run in turn, some rounds long, and each round gives one ratio.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Measure = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of ratios, as text, and whether its target is reached."""

    what: str
    ours: str
    beside: str
    ratio: str
    best: str
    target: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Sides:
    """The seconds that each side took, round by round."""

    seconds: Mapping[str, list[float]]

    def least(self, side: str) -> float:
        """The seconds of a side at its best."""
        return min(self.seconds[side])

    def middle(self, side: str) -> float:
        """The median of a side's seconds."""
        return statistics.median(self.seconds[side])

    def ratio(self, side: str, floor: str) -> float:
        """How many times as fast a side is as the floor: the median of the rounds."""
        pairs = zip(self.seconds[floor], self.seconds[side], strict=True)
        return statistics.median(below / above for below, above in pairs)

    def best_ratio(self, side: str, floor: str) -> float:
        """The same, of both sides at their best."""
        return self.least(floor) / self.least(side)

    def row(self, what: str, side: str, floor: str, count: int, target: float | None = None) -> Row:
        """A line of the table: ``count`` things were done in each round."""
        ratio = self.ratio(side, floor)
        return Row(
            what,
            per_second(count, self.middle(side)),
            per_second(count, self.middle(floor)),
            f"{ratio:.2f}",
            f"{self.best_ratio(side, floor):.2f}",
            "" if target is None else f">= {target:g}",
            None if target is None else ratio >= target,
        )


def alternated(rounds: int, sides: Mapping[str, Measure]) -> Sides:
    """Run the sides in turn, every other round in the opposite order; each returns the
    seconds that count."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for side in order:
            seconds[side].append(sides[side]())
    return Sides(seconds)


def timed(work: Callable[[], object]) -> float:
    """The seconds that a call took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone after the block."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as name:
        yield Path(name)


def inside(folder: Path, measure: Callable[[Path], float]) -> Measure:
    """The measurement in a fresh folder each time."""

    def measured() -> float:
        with fresh(folder) as place:
            return measure(place)

    return measured


def per_second(count: int, seconds: float) -> str:
    """A rate, to be read: 12 345/s."""
    return f"{grouped(count / seconds)}/s"


def grouped(number: float) -> str:
    """A number with a space between its thousands."""
    return f"{number:,.0f}".replace(",", " ")


def brief(seconds: float) -> str:
    """A duration with the unit that suits it: 31 us, 4.2 ms, 1.3 s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us" if seconds >= 1e-5 else f"{seconds * 1e6:.1f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
