"""Where the microseconds of a push, and of a drained job, go.

Three things are told apart: the time within calls to SQLite, statement by statement; the
time within the system calls that Python makes by itself; and the rest, which is Python. The
whole is measured by itself, without anybody watching, and so the parts add up to it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

from bench.drains import drained
from bench.jobs import Nothing
from bench.measuring import fresh, timed
from bench.report import Table
from bench.sizes import Sizes
from bench.watched import PrefetchWatch, watched
from litequeue import Queue

CALLS = ("listdir", "scandir", "open", "close", "read", "write", "pread", "pwrite", "lseek", "stat")
# What takes less of a job than this is shown as one line.
LEAST_US = 0.5
LABEL_WIDTH = 56

Act = Callable[[Queue, int], float]
Parts = dict[str, tuple[float, float]]


def profile(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """Two breakdowns that add up, and what the typed payload has of Python's part."""
    yield _breakdown("One push, to a file that nobody listens on", _push, sizes, folder)
    yield _breakdown("One job that does nothing, drained by one worker", _drain, sizes, folder)
    yield _payload(sizes)


def _push(queue: Queue, count: int) -> float:
    return timed(lambda: [queue.push(Nothing(number)) for number in range(count)])


def _drain(queue: Queue, count: int) -> float:
    queue.push_many([Nothing(number) for number in range(count)])
    return drained(queue, count)


def _breakdown(title: str, act: Act, sizes: Sizes, folder: Path) -> Table:
    whole, kernel, parts = _least(act, sizes, folder)
    small = [name for name, (micros, _) in parts.items() if micros < LEAST_US]
    rest = {"SQLite and system calls, the small ones": [0.0, 0.0]}
    for name in small:
        micros, calls = parts.pop(name)
        rest["SQLite and system calls, the small ones"][0] += micros
        rest["SQLite and system calls, the small ones"][1] += calls
    rows = [(name, micros, calls) for name, (micros, calls) in parts.items()]
    rows.sort(key=lambda row: -row[1])
    rows += [(name, micros, calls) for name, (micros, calls) in rest.items()]
    python = whole - sum(micros for _, micros, _ in rows)
    lines = [[name, f"{micros:.1f}", f"{calls:.2f}"] for name, micros, calls in rows]
    lines += [["Python: all the rest", f"{python:.1f}", ""], ["the whole", f"{whole:.1f}", ""]]
    lines += [["  of which the kernel's", f"{kernel:.1f}", ""]]
    return Table(title, ("what", "us a job", "calls a job"), lines)


def _least(act: Act, sizes: Sizes, folder: Path) -> tuple[float, float, Parts]:
    """The whole and the kernel's share in microseconds a job, unwatched, and the parts;
    each of the round in which it was least."""
    count, unwatched, watched_runs = sizes.profile, [], []
    for _ in range(sizes.rounds):
        with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
            seconds = act(queue, count)
            kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
            unwatched.append((seconds * 1e6 / count, kernel * 1e6 / count))
        watched_runs.append(_parts(act, count, folder))
    whole, kernel = min(unwatched)
    return whole, kernel, min(watched_runs, key=lambda parts: sum(us for us, _ in parts.values()))


def _parts(act: Act, count: int, folder: Path) -> Parts:
    with fresh(folder) as inside, watched() as watch, Queue(inside / "jobs.db") as queue:
        act(queue, 1)
        watch.clear()
        with _watched_calls(watch):
            act(queue, count)
        parts: dict[str, list[float]] = {}
        for what, seconds in watch.seconds.items():
            part = parts.setdefault(_label(what), [0.0, 0.0])
            part[0] += seconds * 1e6 / count
            part[1] += watch.calls[what] / count
    # The jobs that are drained were pushed just before, at once.
    return {
        name: (micros, calls)
        for name, (micros, calls) in parts.items()
        if calls >= 2 / count and not (act is _drain and "insert into litequeue_jobs" in name)
    }


def _label(what: str) -> str:
    if what.startswith("os."):
        return what
    words = " ".join(what.split())
    short = words if len(words) <= LABEL_WIDTH else f"{words[: LABEL_WIDTH - 1]}…"
    return f"SQLite: {short}"


@contextmanager
def _watched_calls(watch: PrefetchWatch) -> Iterator[None]:
    with ExitStack() as patches:
        for name in CALLS:
            if hasattr(os, name):
                timed_call = partial(_call, watch, f"os.{name}", getattr(os, name))
                patches.enter_context(mock.patch.object(os, name, timed_call))
        yield


def _call(
    watch: PrefetchWatch, name: str, call: Callable[..., object], *arguments: object
) -> object:
    started = time.perf_counter()
    try:
        return call(*arguments)
    finally:
        watch.saw(name, started, time.perf_counter())


def _payload(sizes: Sizes) -> Table:
    count = sizes.profile
    text = Nothing(1).__litequeue_spec__().payload
    codec = Nothing.__litequeue__.codec
    acts: dict[str, Callable[[], object]] = {
        "make a job: Nothing(1)": lambda: Nothing(1),
        "its name, options and fields as they are stored": Nothing(1).__litequeue_spec__,
        "a job from its stored fields": lambda: codec.decode(text),
    }
    rows = []
    for name, act in acts.items():
        least = min(timed(partial(_again, act, count)) for _ in range(sizes.rounds))
        rows.append([name, f"{least * 1e6 / count:.1f}"])
    return Table("The typed payload, which is a part of Python's rest", ("what", "us"), rows)


def _again(act: Callable[[], object], times: int) -> None:
    for _ in range(times):
        act()
