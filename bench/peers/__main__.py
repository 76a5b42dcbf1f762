"""Measures the other libraries at litequeue's work, and says how durable each of them is."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import machine
from bench.footprint import Footprint
from bench.measuring import grouped
from bench.peers import playing
from bench.peers.kills import after_sigkill
from bench.peers.libraries import LIBRARIES, Library
from bench.peers.server import there_is_redis
from bench.report import Table
from bench.workers import has_threads

NAPS = 10


@dataclass(slots=True)
class Found:
    """What was measured of one library."""

    pushes: list[float] = field(default_factory=list)
    drains: list[float] = field(default_factory=list)
    ordinary_pushes: list[float] = field(default_factory=list)
    ordinary_drains: list[float] = field(default_factory=list)
    naps: list[tuple[float, Footprint]] = field(default_factory=list)
    settings: str = ""
    killed: str = ""


def main() -> None:
    """Measure all that are installed, round by round, and then kill the worker of each."""
    args = _parser().parse_args()
    lines: list[str] = []
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="litequeue-peers-") as name:
        folder = Path(name)
        lines += ["Other libraries at the same work", ""]
        lines += [*machine.described(folder.parent), ""]
        missing = {library.title: why for library in LIBRARIES if (why := _missing(library))}
        chosen = [library for library in LIBRARIES if not _missing(library)]
        found = _measured(chosen, args.jobs, args.rounds, folder)
        _kill_all(found, args.patience, folder)
    lines += _table(found, args.jobs, args.rounds).lines()
    lines += _table_of_ordinary(found, args.jobs, args.rounds).lines()
    lines += [f"Not measured: {title}: {why}" for title, why in missing.items()]
    print("\n".join(lines))
    if args.output is not None:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _missing(library: Library) -> str | None:
    if library.version is None:
        return "it is not installed"
    if library.redis and not there_is_redis():
        return "this machine has no redis-server"
    return None


def _measured(
    libraries: Sequence[Library], jobs: int, rounds: int, folder: Path
) -> dict[Library, Found]:
    found = {library: Found() for library in libraries}
    for number in range(rounds):
        for library in libraries if number % 2 == 0 else libraries[::-1]:
            print(f"round {number + 1}: {library.title}", file=sys.stderr, flush=True)
            with playing.field(library, folder, jobs) as place:
                found[library].pushes.append(float(place.ask("push", "nothing", str(jobs))))
                found[library].drains.append(place.drained(jobs))
                if not found[library].settings:
                    found[library].settings = place.ask("settings")
            _measure_ordinary(library, found[library], jobs, folder)
            _measure_naps(library, found[library], folder)
    return found


def _measure_ordinary(library: Library, found: Found, jobs: int, folder: Path) -> None:
    if library.ordinary:
        with playing.field(library, folder, jobs) as place:
            found.ordinary_pushes.append(float(place.ask("push", "ordinary", str(jobs))))
            found.ordinary_drains.append(place.drained(jobs))


def _measure_naps(library: Library, found: Found, folder: Path) -> None:
    if library.crowd:
        with playing.field(library, folder) as place:
            place.ask("push", "nap", str(NAPS))
            found.naps.append(place.rested(NAPS))


def _kill_all(found: dict[Library, Found], patience: float, folder: Path) -> None:
    """All at once: most of it is waiting."""
    print("killing workers ...", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(len(found)) as pool:
        act = partial(after_sigkill, folder=folder, patience=patience)
        for library, words in zip(found, pool.map(act, found), strict=True):
            found[library].killed = words


def _table(found: dict[Library, Found], jobs: int, rounds: int) -> Table:
    heads = ("library", "push", "x", "drain", "x", "durability", "running job after SIGKILL")
    return Table(
        f"{grouped(jobs)} jobs that do nothing, and one worker; the best of {rounds} rounds",
        heads,
        list(_rows(found, jobs)),
        (
            "",
            "push, drain: jobs a second. x: litequeue as it comes is so many times as fast.",
            "durability: the journal and the synchronous level of the library's own connection;",
            "WAL with NORMAL loses the last commits when the power fails, FULL loses none, OFF can",
            "damage the file. Each library runs as its documentation starts it: with what it does",
            "by default, and one worker. The job that is killed may have three attempts.",
            "",
        ),
    )


def _rows(found: dict[Library, Found], jobs: int) -> Iterator[Sequence[str]]:
    ours = next(iter(found.values()))
    for library, each in found.items():
        push, drain = min(each.pushes), min(each.drains)
        yield (
            library.title,
            grouped(jobs / push),
            f"{push / min(ours.pushes):.1f}",
            grouped((jobs - 1) / drain),
            f"{drain / min(ours.drains):.1f}",
            each.settings,
            each.killed,
        )


def _table_of_ordinary(found: dict[Library, Found], jobs: int, rounds: int) -> Table:
    ours = next(iter(found.values()))
    rows = []
    for library, each in found.items():
        columns = ["", "", "", ""]
        if each.ordinary_pushes:
            push, drain = min(each.ordinary_pushes), min(each.ordinary_drains)
            columns = [
                grouped(jobs / push),
                f"{push / min(ours.ordinary_pushes):.1f}",
                grouped((jobs - 1) / drain),
                f"{drain / min(ours.ordinary_drains):.1f}",
            ]
        seconds, memory = min(each.naps, key=lambda nap: nap[0]) if each.naps else (None, "")
        rows.append([
            library.title, *columns, "" if seconds is None else f"{seconds:.2f} s", str(memory)
        ])  # fmt: skip
    return Table(
        f"{grouped(jobs)} ordinary jobs, and {NAPS} that sleep; the best of {rounds} rounds",
        ("library", "push", "x", "drain", "x", f"{NAPS} sleep 1 s", "RSS / PSS"),
        rows,
        (
            "",
            "An ordinary job has a timeout of 30 s, a result that is kept, and three attempts.",
            f"{NAPS} sleep 1 s: from the first start to the last end, by one worker that may run",
            f"ten at a time: {_in_threads()}.",
            "RSS / PSS: the memory of all processes of the worker when it runs them.",
            "",
        ),
    )


def _in_threads() -> str:
    if has_threads():
        return "in threads, but in processes with rq"
    return "in threads, but in processes with litequeue, which has no --threads, and with rq"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500, help="how many, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=150, help="seconds, for a lost job")
    parser.add_argument("--folder", type=Path, help="where the databases are (default: /tmp)")
    parser.add_argument("--output", type=Path, help="write the whole to this file too")
    return parser


if __name__ == "__main__":
    main()
