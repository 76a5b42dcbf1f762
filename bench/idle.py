"""What a worker costs that has nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Row, fresh
from bench.sizes import Sizes
from bench.workers import crew, has_threads
from litequeue import Queue

CPU_TARGET_PERCENT = 0.1
MEMORY_TARGET = 1.35
# A worker that may run so many jobs at once costs as much as one, give or take a tenth.
THREADS = 50
THREADS_TARGET = 1.1
# After this, a worker has looked around for the first time, and sleeps.
SETTLING_SECONDS = 1.5

BARE = "import sqlite3, json, argparse, logging; print(open('/proc/self/status').read())"


@dataclass(frozen=True, slots=True)
class Idle:
    """What an idle worker has cost."""

    cpu_percent: float
    resident_kb: int


def idle(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """CPU over some time, and memory beside a Python that has imported the like; the same
    of a worker with many threads, beside one without."""
    ways: list[list[str]] = [[]]
    if has_threads():
        ways.append(["--threads", str(THREADS)])
    with ExitStack() as stack:
        processes = [stack.enter_context(_working(folder, *flags)) for flags in ways]
        ours, *others = _measured(processes, sizes.idle_seconds)
    yield Row(
        f"idle worker, CPU over {sizes.idle_seconds:.0f} s",
        f"{ours.cpu_percent:.3f} %",
        "",
        "",
        "",
        f"< {CPU_TARGET_PERCENT} %",
        ours.cpu_percent < CPU_TARGET_PERCENT,
    )
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    yield _memory(
        "idle worker, resident memory / bare Python",
        ours.resident_kb,
        _resident_kb(done.stdout),
        MEMORY_TARGET,
    )
    for other in others:
        yield from _with_threads(other, ours)


def _with_threads(ours: Idle, one: Idle) -> Iterator[Row]:
    ratio = ours.cpu_percent / one.cpu_percent if one.cpu_percent else 1.0
    yield Row(
        f"  with --threads {THREADS}, CPU / one worker",
        f"{ours.cpu_percent:.3f} %",
        f"{one.cpu_percent:.3f} %",
        f"{ratio:.2f}",
        "",
        f"< {THREADS_TARGET:g}",
        ratio < THREADS_TARGET,
    )
    yield _memory(
        f"  with --threads {THREADS}, resident memory / one worker",
        ours.resident_kb,
        one.resident_kb,
        THREADS_TARGET,
    )


def _memory(what: str, ours: int, beside: int, target: float) -> Row:
    return Row(
        what,
        f"{ours / 1024:.1f} MiB",
        f"{beside / 1024:.1f} MiB",
        f"{ours / beside:.2f}",
        "",
        f"< {target:g}",
        ours / beside < target,
    )


@contextmanager
def _working(folder: Path, *flags: str) -> Iterator[int]:
    with (
        fresh(folder) as inside,
        Queue(inside / "jobs.db") as queue,
        crew(queue, 1, *flags) as found,
    ):
        yield found.processes[0].pid


def _measured(processes: Sequence[int], seconds: float) -> list[Idle]:
    """What these processes cost within the same time."""
    time.sleep(min(SETTLING_SECONDS, seconds))
    before, began = [_cpu_seconds(process) for process in processes], time.monotonic()
    time.sleep(seconds)
    used = [_cpu_seconds(process) - start for process, start in zip(processes, before, strict=True)]
    passed = time.monotonic() - began
    return [
        Idle(100 * spent / passed, _resident_kb(_status(process)))
        for process, spent in zip(processes, used, strict=True)
    ]


def _status(process: int) -> str:
    return Path(f"/proc/{process}/status").read_text(encoding="utf-8")


def _cpu_seconds(pid: int) -> float:
    """The time that a process has spent on a processor: in nanoseconds where the kernel
    counts so, and else in ticks."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(status: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
