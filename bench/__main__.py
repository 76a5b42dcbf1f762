"""Measures litequeue, and writes what came out as plain text."""

from __future__ import annotations

import argparse
import compileall
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import machine, report
from bench.backlog import backlog
from bench.choosing import choosing
from bench.growth import growth
from bench.idle import idle
from bench.imports import imports
from bench.latency import latency
from bench.memory import memory
from bench.ordinary import ordinary
from bench.page_sizes import page_sizes
from bench.payloads import payloads
from bench.processes import processes
from bench.profile_of_a_job import profile
from bench.ratios import bulk, drains, pushes
from bench.report import Table
from bench.sizes import FULL, QUICK, TINY, Sizes
from bench.syncing import syncing
from bench.syscalls import syscalls
from bench.threads import threads
from bench.waiting import waiting
from bench.workers import ROOT

TITLE = "What litequeue does in a second, and what SQLite alone does beside it"
TITLE_APART = "Pages of three sizes, and the memory of a worker"

Chapter = Callable[[Sizes, Path], Iterator[Table]]


def ratios(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """All that has a target."""
    rows = []
    for measure in (pushes, bulk, drains, backlog, processes, latency, idle, imports):
        for row in measure(sizes, folder):
            print(f"  {row.what}: {row.ours} {row.ratio}", file=sys.stderr)
            rows.append(row)
    yield report.of_ratios(rows)


CHAPTERS: dict[str, Chapter] = {
    "ratios": ratios,
    "ordinary": ordinary,
    "growth": growth,
    "payloads": payloads,
    "threads": threads,
    "waiting": waiting,
    "choosing": choosing,
    "syncing": syncing,
    "profile": profile,
    "syscalls": syscalls,
}
# What takes long and decides something once: it runs when it is named.
APART: dict[str, Chapter] = {
    "page_sizes": page_sizes,
    "memory": memory,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the chapters that were asked for."""
    args = _parser().parse_args(arguments)
    sizes = TINY if args.tiny else QUICK if args.quick else FULL
    # That a megabyte is a large payload is known.
    logging.getLogger("litequeue").setLevel(logging.ERROR)
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    # As pip does when it installs: where Python is told to write no bytecode, each start
    # would compile litequeue anew, and not what it is measured against.
    compileall.compile_dir(ROOT / "litequeue", quiet=2)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="litequeue-bench-") as name:
        folder = Path(name)
        say(TITLE_APART if args.only and set(args.only) <= set(APART) else TITLE)
        say()
        for line in (*machine.described(folder.parent), "", *machine.settings(), ""):
            say(line)
        for chapter in args.only or CHAPTERS:
            print(f"{chapter}, at {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            for table in (CHAPTERS | APART)[chapter](sizes, folder):
                for line in table.lines():
                    say(line)
    say(f"All of this took {time.monotonic() - began:.0f} s.")
    if args.output is not None:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small numbers, within 40 seconds")
    size.add_argument("--tiny", action="store_true", help="just enough to run every line")
    parser.add_argument("--only", nargs="+", choices=(*CHAPTERS, *APART), help="these chapters")
    parser.add_argument("--folder", type=Path, help="where the databases are (default: /tmp)")
    parser.add_argument("--output", type=Path, help="write the whole to this file too")
    return parser


if __name__ == "__main__":
    main()
