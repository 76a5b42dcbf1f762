"""What a worker costs that has nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measuring import Row, fresh
from bench.sizes import Sizes
from bench.workers import crew
from litequeue import Queue

CPU_TARGET_PERCENT = 0.1
MEMORY_TARGET = 1.35
# After this, a worker has looked around for the first time, and sleeps.
SETTLING_SECONDS = 1.5

BARE = "import sqlite3, json, argparse, logging; print(open('/proc/self/status').read())"


def idle(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """CPU over some time, and memory beside a Python that has imported the like."""
    with fresh(folder) as inside, Queue(inside / "jobs.db") as queue, crew(queue, 1) as found:
        pid = found.processes[0].pid
        time.sleep(min(SETTLING_SECONDS, sizes.idle_seconds))
        before, began = _cpu_seconds(pid), time.monotonic()
        time.sleep(sizes.idle_seconds)
        spent, passed = _cpu_seconds(pid) - before, time.monotonic() - began
        ours = _resident_kb(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    percent = 100 * spent / passed
    yield Row(
        f"idle worker, CPU over {passed:.0f} s",
        f"{percent:.3f} %",
        "",
        "",
        "",
        f"< {CPU_TARGET_PERCENT} %",
        percent < CPU_TARGET_PERCENT,
    )
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    bare = _resident_kb(done.stdout)
    yield Row(
        "idle worker, resident memory / bare Python",
        f"{ours / 1024:.1f} MiB",
        f"{bare / 1024:.1f} MiB",
        f"{ours / bare:.2f}",
        "",
        f"< {MEMORY_TARGET:g}",
        ours / bare < MEMORY_TARGET,
    )


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
