"""The command demo: a guided tour with real files, a retry, a failure and a delay."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from litequeue.cli.parser import Commands
from litequeue.cli.terminal import complain, say, say_table
from litequeue.errors import OptionError
from litequeue.jobs.discovery import discover
from litequeue.log import logger
from litequeue.monitor.environment import size
from litequeue.queue import Queue
from litequeue.records import JobRow, State
from litequeue.worker.worker import Worker

EXAMPLE = """\
examples:
  litequeue demo                      archive Python's own library in ./litequeue-demo
  litequeue demo ~/Documents          archive these files instead; they are only read
  litequeue demo --folder /tmp/tour   make the queue and the archive there
"""

MARKER = "litequeue-demo.txt"
MARKER_TEXT = "Made by `litequeue demo`. Delete this folder when you have seen enough.\n"
MOST_FILES, MOST_BYTES = 5_000, 1_000_000_000
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
POLLS_PER_SECOND = 10
DELAY_SECONDS = 2
VERIFIED_FILES = 5
# The examples are in the package if it is installed, and beside it in a clone.
JOBS = ("litequeue." if importlib.util.find_spec("litequeue.examples") else "") + "examples.archive"


def add(commands: Commands) -> None:
    """Add the command of this file."""
    demo = commands.add("demo", "take a guided tour on real files", demo_command, EXAMPLE)
    files = "the folder of the files to archive (default: Python's own library)"
    demo.add_argument("directory", metavar="DIR", nargs="?", help=files)
    folder = "the folder to create (default: %(default)s); a later tour appends -2, -3 and so on"
    demo.add_argument("--folder", metavar="PATH", default="litequeue-demo", help=folder)


def demo_command(args: argparse.Namespace) -> int:
    """Take the tour; return 1 if the archive is not complete."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = Path(os.path.abspath(args.directory or sysconfig.get_path("stdlib")))
    paths = _collect(root, library=args.directory is None)
    try:
        folder = _make_folder(args.folder)
    except OSError as error:
        raise OptionError(owner="demo", problem=str(error)) from error
    return 0 if _tour(root, paths, folder) else 1


def _collect(root: Path, *, library: bool) -> list[Path]:
    """Return the files to archive, and say how many there are."""
    paths: list[Path] = []
    total, more = 0, ""
    for path in _walk(root, library=library):
        total += path.stat().st_size
        if len(paths) == MOST_FILES or total > MOST_BYTES:
            more = f" There are more: the tour stops at {MOST_FILES} files or {size(MOST_BYTES)}."
            break
        paths.append(path)
    if not paths:
        problem = f"{root} is not a directory with files that can be read; name another: demo DIR"
        raise OptionError(owner="demo", problem=problem)
    say(f"{len(paths)} files of {root} will be compressed.{more}")
    return paths


def _walk(root: Path, *, library: bool) -> Iterator[Path]:
    """Yield the regular files that can be read, except in the folders of earlier tours."""
    for parent, folders, names in os.walk(root):
        kept = set(folders) - (NOT_THE_LIBRARY if library else set())
        folders[:] = sorted(name for name in kept if not Path(parent, name, MARKER).is_file())
        for path in (Path(parent, name) for name in sorted(names)):
            # A payload is JSON text, which cannot hold a name that is not UTF-8.
            utf8 = not any("\ud800" <= character <= "\udfff" for character in str(path))
            regular = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
            if utf8 and regular and (path.suffix == ".py" or not library):
                yield path


def _make_folder(wanted: str) -> Path:
    """Make the first of NAME, NAME-2, NAME-3, ... that no earlier tour made; raises
    OptionError if something else is there."""
    here, first = Path.cwd(), Path(os.path.abspath(wanted))
    names = (first if n == 1 else first.with_name(f"{first.name}-{n}") for n in count(1))
    folder = next(each for each in names if not (each / MARKER).is_file())
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        problem = f"{folder} exists, and no earlier tour made it; name another --folder"
        raise OptionError(owner="demo", problem=problem)
    (folder / MARKER).write_text(MARKER_TEXT)
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _tour(root: Path, paths: Sequence[Path], folder: Path) -> bool:
    """Run the jobs and show how they ended; False if the archive is not complete."""
    logger.setLevel("ERROR")  # the table shows the jobs that fail
    clone = Path(__file__).parents[2]
    sys.path.insert(0, str(clone))  # before another package called examples
    database, jobs, started_at = folder / "jobs.db", discover([JOBS], clone), time.monotonic()
    with Queue(database) as queue:
        failing = _push(queue, root, paths, folder.absolute())
        say(f"Each file is a job in the queue {database}. One of them fails twice and is retried.")
        say(f"Two more jobs: one fails permanently, one starts after {DELAY_SECONDS} s.")
        # After a second Ctrl-C, the program waits for the grace.
        with Worker(queue, jobs, threads=2, grace=1.0).in_background() as worker:
            try:
                _watch(queue, worker)
            except KeyboardInterrupt:
                complain(f"Interrupted; what was done so far stays in {folder}")
                raise
        seconds = time.monotonic() - started_at
        rows = queue.find(limit=len(paths) + 2)[::-1]
    _report(rows, seconds)
    complete = _verify(rows)
    _advise(database, folder / "missing.txt", failing)
    return complete


def _push(queue: Queue, root: Path, paths: Sequence[Path], folder: Path) -> int:
    """Push a job for each file, one that fails and one that is delayed; return the id of the
    failing one. By name: a producer does not need the code of the jobs."""
    archive, missing = folder / "archive", folder / "missing.txt"
    targets = {path: archive / path.relative_to(root) for path in paths} | {missing: missing}
    payloads = [{"source": str(path), "target": f"{targets[path]}.gz"} for path in targets]
    queue.push("ArchiveFromNetwork", payloads[0], queue="files", priority=10)
    others = [("ArchiveFile", payload) for payload in payloads[1:]]
    failing = queue.push_many(others, queue="files")[-1]
    queue.push("count-archive", {"folder": str(archive)}, queue="extras", delay=DELAY_SECONDS)
    return failing


def _watch(queue: Queue, worker: Worker) -> None:
    """Show the progress each second until all jobs are finished, or the worker has died."""
    for poll in count():
        counts = [(state, n) for by in queue.counts().values() for state, n in by.items()]
        finished, total = sum(n for state, n in counts if state.finished), sum(n for _, n in counts)
        if poll % POLLS_PER_SECOND == 0 or finished == total:
            say(f"{finished} of {total} jobs are finished")
        if finished == total or not worker.alive:
            return
        time.sleep(1 / POLLS_PER_SECOND)


def _report(rows: Sequence[JobRow], seconds: float) -> None:
    """Print a table of the results: for each kind how many, and the first of them."""
    done = [row for row in rows if row.state is State.DONE]
    kinds = {
        "retried": [row for row in rows if row.attempts > 1],
        "failed": [row for row in rows if row.state is State.FAILED],
        "delayed": [row for row in done if row.name == "count-archive"],
    }
    table = [("done", len(done), f"in {seconds:.1f} s")]
    for kind, found in kinds.items():
        table.append((kind, len(found), _in_words(found[0]) if found else "none"))
    say("")
    say_table(("", "jobs", ""), table)
    say("")


def _in_words(row: JobRow) -> str:
    after = ((row.finished_at or row.created_at) - row.created_at).total_seconds()
    end = f"{row.state} after {after:.1f} s, attempt {row.attempts}"
    return f"job {row.id} ({row.name}): {end}, {row.reason or row.result}"


def _verify(rows: Sequence[JobRow]) -> bool:
    """Unpack some of the files and compare them with the results of their jobs; False if one
    differs, or if there is none."""
    archived = [row for row in rows if row.queue == "files" and row.result]
    some = archived[:: max(1, len(archived) // VERIFIED_FILES)][:VERIFIED_FILES]
    same = 0
    for row in some:
        digest, target = hashlib.sha256(), json.loads(row.payload)["target"]
        with gzip.open(target) as unpacked:
            while chunk := unpacked.read(1 << 20):
                digest.update(chunk)
        same += digest.hexdigest() == json.loads(row.result or "")["sha256"]
    say(f"{same} of {len(some)} unpacked files have the SHA-256 of their originals.")
    return same == len(some) > 0


def _advise(database: Path, missing: Path, failed: int) -> None:
    """Print commands that show more, ready to be pasted."""
    python = "python3" if shutil.which("python3") == sys.executable else sys.executable
    us, name = f"{shlex.quote(python)} -m litequeue", shlex.quote(str(database))
    say("To look further:")
    say(f"  {us} status {name}")
    say(f"  {us} list {name} --state failed")
    say(f"  {us} retry {name} {failed}")
    say(f"That job succeeds once {missing} exists and a worker runs:")
    say(f"  {us} work {name} --drain --jobs {JOBS}")
