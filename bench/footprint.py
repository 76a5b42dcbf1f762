"""The memory of processes, with what they share counted once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes over several processes."""

    resident: int
    """RSS, in which each process counts what it shares with others as its own."""
    proportional: int
    """PSS, in which processes that share a page count a part of it each."""

    def __str__(self) -> str:
        return f"{megabytes(self.resident)} / {megabytes(self.proportional)}"


def of(processes: Iterable[int]) -> Footprint:
    """The memory of processes now; one that has ended counts as nothing."""
    found = [_of_one(process) for process in processes]
    return Footprint(sum(each.resident for each in found), sum(each.proportional for each in found))


def of_tree(root: int) -> Footprint:
    """The memory of a process and of all that it has started, and they in turn."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        with suppress(OSError):
            fields = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [root]
    # The list grows while it is walked.
    for process in found:
        found += children.get(process, [])
    return of(found)


def peak(process: int) -> int:
    """The most resident memory that a process has had so far, in bytes; 0 where nothing
    says it, and when it has ended."""
    with suppress(OSError):
        for line in (PROC / str(process) / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def megabytes(number: int) -> str:
    """Bytes, to be read: 16.3 MiB."""
    return f"{number / 1024**2:.1f} MiB" if number else "-"


def _of_one(process: int) -> Footprint:
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Footprint(0, 0)
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}
    return Footprint(sizes.get("Rss", 0), sizes.get("Pss", 0))
