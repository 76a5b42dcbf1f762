"""How many system calls a push and a drained job take, counted by strace where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.drains import drained
from bench.jobs import Nothing
from bench.measuring import fresh
from bench.report import Table
from bench.sizes import Sizes
from bench.workers import ROOT
from litequeue import Queue

# What so many jobs cost more than none is theirs, and not that of the start.
JOBS = 500
ACTS = ("push", "drain")
LEAST = 0.05


def syscalls(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """One column for each of the two acts."""
    title, heads = "System calls a job", ("call", *ACTS)
    if shutil.which("strace") is None:
        yield Table(title, heads, [], ("Nothing was counted: this machine has no strace.",))
        return
    counts = {act: _of_a_job(act, min(JOBS, sizes.profile), folder) for act in ACTS}
    names = sorted({name for each in counts.values() for name in each})
    found = {name: [counts[act].get(name, 0.0) for act in ACTS] for name in names}
    rows = [
        [name, *(f"{number:.2f}" for number in numbers)]
        for name, numbers in sorted(found.items(), key=lambda each: -sum(each[1]))
        if max(numbers) >= LEAST
    ]
    yield Table(title, heads, rows)


def _of_a_job(act: str, jobs: int, folder: Path) -> dict[str, float]:
    few, many = (_counted(act, count, folder) for count in (1, 1 + jobs))
    return {name: (count - few.get(name, 0)) / jobs for name, count in many.items()}


def _counted(act: str, jobs: int, folder: Path) -> dict[str, int]:
    with fresh(folder) as inside:
        report = inside / "strace"
        script = [sys.executable, "-m", "bench.syscalls", act, str(inside / "jobs.db"), str(jobs)]
        command = ["strace", "-f", "-c", "-o", str(report), *script]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            return {}
        found = {}
        for line in report.read_text(encoding="utf-8").splitlines():
            # Per cent, seconds, microseconds a call, calls, errors if there were any, name.
            words = line.split()
            if len(words) in (5, 6) and words[3].isdecimal() and words[-1] != "total":
                found[words[-1]] = int(words[3])
        return found


def _act(act: str, path: str, count: int) -> None:
    with Queue(path) as queue:
        if act == "push":
            for number in range(count):
                queue.push(Nothing(number))
        else:
            queue.push_many([Nothing(number) for number in range(count)])
            drained(queue, count)


if __name__ == "__main__":
    _act(sys.argv[1], sys.argv[2], int(sys.argv[3]))
