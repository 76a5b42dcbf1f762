"""The command demo: a guided tour with real files, two workers, a retry, a failure and a
delay."""

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
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import FrameType

from litequeue.cli.parser import Commands
from litequeue.cli.terminal import complain, say, say_table
from litequeue.errors import OptionError
from litequeue.monitor.environment import size
from litequeue.queue import Queue
from litequeue.records import JobRow, State

EXAMPLE = """\
examples:
  litequeue demo                      archive Python's own library in ./litequeue-demo
  litequeue demo ~/Documents          archive these files instead; they are only read
  litequeue demo --folder /tmp/tour   make the queue and the archive there
"""

MARKER = "litequeue-demo.txt"
MARKER_TEXT = "Made by `litequeue demo`. Delete this folder when you have seen enough.\n"
MOST_FILES = 5_000
MOST_BYTES = 1_000_000_000
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
STOP_SECONDS = 10
POLL_SECONDS = 0.1
DELAY_SECONDS = 2
VERIFIED_FILES = 5

Workers = dict[subprocess.Popen[bytes], Path]  # each with its log
Manifest = list[dict[str, str | int]]


@dataclass(slots=True)
class Files:
    """The files to archive, relative to their root, and what was left out."""

    root: Path
    paths: list[Path] = field(default_factory=list)
    bytes: int = 0
    unreadable: int = 0
    capped: bool = False


def add(commands: Commands) -> None:
    """Add the command of this file."""
    demo = commands.add("demo", "take a guided tour on real files", demo_command, EXAMPLE)
    demo.add_argument(
        "directory", metavar="DIR", nargs="?", help="whose files (default: Python's own library)"
    )
    demo.add_argument(
        "--folder",
        metavar="PATH",
        default="litequeue-demo",
        help="the folder to make (default: litequeue-demo, or -2, -3, ... if that exists)",
    )


def demo_command(args: argparse.Namespace) -> int:
    """Take the tour; return 1 if all workers died or the archive is not whole."""
    try:
        with _interrupted_by_signals():
            return 0 if _tour(_collect(args.directory), args.folder) else 1
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise OptionError(owner="demo", problem=f"{where}{error.strerror or error}") from error


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP interrupt as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tour(files: Files, wanted: str) -> bool:
    folder = _make_folder(wanted)
    started_at = time.monotonic()
    with Queue(folder / "jobs.db") as queue:
        missing = _push(queue, files, folder)
        _introduce(files, folder)
        with _working(folder) as workers:
            finished = _watch(queue, workers)
        seconds = time.monotonic() - started_at
        rows = queue.find(limit=len(files.paths) + 2)[::-1]
    manifest = _write_manifest(rows, files, folder)
    _report(rows, len(manifest), folder, seconds)
    whole = _verify(manifest, folder)
    _advise(folder, missing, next(row.state for row in rows if row.id == missing))
    return finished and whole


# The files and the folder


def _collect(directory: str | None) -> Files:
    """Return the readable files of a directory, or the source of Python's library."""
    files = Files(Path(os.path.abspath(directory or sysconfig.get_path("stdlib"))))
    if not files.root.is_dir():
        raise OptionError(owner="demo", problem=f"{files.root} is not a directory")
    for path in _walk(files, library=directory is None):
        if not _usable(path):
            files.unreadable += 1
            continue
        files.bytes += path.stat().st_size
        if len(files.paths) == MOST_FILES or files.bytes > MOST_BYTES:
            files.bytes -= path.stat().st_size
            files.capped = True
            break
        files.paths.append(path.relative_to(files.root))
    if not files.paths:
        problem = f"{files.root} has no file that can be read; name another: demo DIR"
        raise OptionError(owner="demo", problem=problem)
    return files


def _walk(files: Files, *, library: bool) -> Iterator[Path]:
    def count_unreadable(error: OSError) -> None:
        files.unreadable += 1

    excluded = NOT_THE_LIBRARY if library else ()
    for parent, folders, names in os.walk(files.root, onerror=count_unreadable):
        # The folders that earlier tours made are left out too.
        folders[:] = sorted(
            name for name in folders if name not in excluded and not _is_ours(Path(parent, name))
        )
        for path in (Path(parent, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink() and (not library or path.suffix == ".py"):
                yield path


def _usable(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # A payload is JSON text, which cannot hold such a name.
        return False
    return os.access(path, os.R_OK)


def _is_ours(folder: Path) -> bool:
    return os.path.isfile(folder / MARKER)


def _make_folder(wanted: str) -> Path:
    """Make the first of NAME, NAME-2, NAME-3, ... that no earlier tour made; raises
    OptionError if something else is there."""
    first = Path(os.path.abspath(wanted))
    names = (first if n == 1 else first.with_name(f"{first.name}-{n}") for n in count(1))
    folder = next(each for each in names if not _is_ours(each))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        problem = f"{folder} exists, and no former tour made it; name another --folder"
        raise OptionError(owner="demo", problem=problem)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(MARKER_TEXT)
    return folder


# The jobs and the workers


def _push(queue: Queue, files: Files, folder: Path) -> int:
    """Push a job for each file, one that fails and one that is delayed; return the id of the
    failing one. By name: a producer does not need the code of the jobs."""
    archive, missing = folder / "archive", folder / "missing.txt"
    first, *others = (_payload(files.root / path, archive / path) for path in files.paths)
    queue.push("ArchiveFromNetwork", first, queue="files", priority=10)
    queue.push_many([("ArchiveFile", payload) for payload in others], queue="files")
    id = queue.push("ArchiveFile", _payload(missing, missing), queue="extras", priority=10)
    queue.push("count-archive", {"folder": str(archive)}, queue="extras", delay=DELAY_SECONDS)
    return id


def _payload(source: Path, target: Path) -> dict[str, object]:
    return {"source": str(source), "target": f"{target}.gz"}


def _introduce(files: Files, folder: Path) -> None:
    say(f"{len(files.paths)} files of {files.root} ({size(files.bytes)}) are to be compressed.")
    if files.capped:
        say(f"There are more; the tour stops at {MOST_FILES} files or {size(MOST_BYTES)}.")
    if files.unreadable:
        say(f"Left out: {files.unreadable} that cannot be read.")
    say(f"Each is a job in the queue {_shown(folder / 'jobs.db')}. One job fails twice and is")
    say(f"retried, one more fails permanently, and one more starts {DELAY_SECONDS} s late.")


@contextmanager
def _working(folder: Path) -> Iterator[Workers]:
    """Two worker processes, which the end of the block stops."""
    workers: Workers = {}
    try:
        for log in (folder / "worker-1.log", folder / "worker-2.log"):
            workers[_start_worker(folder, log)] = log
        say(f"Two workers do them: process {' and '.join(str(each.pid) for each in workers)}.")
        yield workers
    except KeyboardInterrupt:
        complain(f"Interrupted; what was done so far stays in {_shown(folder)}")
        raise
    finally:
        _shutdown(workers)


def _start_worker(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    package, start = _example()
    command = [sys.executable, "-m", "litequeue", "work", str(folder / "jobs.db")]
    # The parent pipe is their standard input: if this process is killed, they end too.
    command += ["--jobs", package, "--quiet", "--leash", "0"]
    # The user's settings are meant for other workers.
    mine = {name: value for name, value in os.environ.items() if not name.startswith("LITEQUEUE_")}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=start,
            env=mine,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process, which then stops them.
            start_new_session=True,
        )


def _example() -> tuple[str, Path]:
    """The package of the jobs, and the folder for workers to start in."""
    if importlib.util.find_spec("litequeue.examples"):
        return "litequeue.examples.archive", Path.cwd()
    # In a clone it is beside the package, not in it.
    return "examples.archive", Path(__file__).parents[2]


def _shutdown(workers: Workers) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        with worker:  # its end closes the parent pipe
            try:
                worker.wait(STOP_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                worker.kill()


def _watch(queue: Queue, workers: Workers) -> bool:
    """Show the progress until all jobs are finished; False if no worker is left."""
    alive, started_at = dict(workers), time.monotonic()
    said_at, redraws = started_at, sys.stdout.isatty()
    while True:
        text, over = _progress(queue, time.monotonic() - started_at)
        if redraws:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r" + text[:width].ljust(width) + "\n" * over)
            sys.stdout.flush()
        elif over or time.monotonic() - said_at >= 1:
            said_at = time.monotonic()
            say(text)
        if over:
            return True
        for worker in [each for each in alive if each.poll() is not None]:
            _report_death(worker, alive.pop(worker))
        if not alive:
            complain("No worker is left; jobs that are not done stay in the queue.")
            return False
        time.sleep(POLL_SECONDS)


def _progress(queue: Queue, seconds: float) -> tuple[str, bool]:
    """Return the progress in words, and whether all jobs are finished."""
    (finished, total), (extras, all_extras) = _finished(queue, "files"), _finished(queue, "extras")
    text = f"{finished} of {total} files"
    if 0 < finished < total:
        rate = finished / max(seconds, 0.001)
        text += f", {rate:.0f} a second, {(total - finished) / rate:.0f} s left"
    elif finished == total and extras < all_extras:
        text += f", other jobs to come: {all_extras - extras}"
    return text, finished == total and extras == all_extras


def _finished(queue: Queue, name: str) -> tuple[int, int]:
    """Return how many jobs of a queue are finished, and how many there are."""
    counts = queue.counts().get(name, {})
    return sum(n for state, n in counts.items() if state.finished), sum(counts.values())


def _report_death(worker: subprocess.Popen[bytes], log: Path) -> None:
    complain(f"Worker process {worker.pid} ended with status {worker.returncode}; its last lines:")
    for line in log.read_text(errors="replace").splitlines()[-3:]:
        complain(f"  {line}")


# The results


def _write_manifest(rows: Sequence[JobRow], files: Files, folder: Path) -> Manifest:
    """Write down each archived file, from the results that the queue keeps."""
    manifest: Manifest = []
    for row in rows:
        if row.queue == "files" and row.state is State.DONE and row.result:
            payload, result = json.loads(row.payload), json.loads(row.result)
            path = str(Path(payload["source"]).relative_to(files.root))
            archive = str(Path(payload["target"]).relative_to(folder))
            manifest.append({"path": path, "archive": archive, **result})
    text = json.dumps({"root": str(files.root), "files": manifest}, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return manifest


def _report(rows: Sequence[JobRow], archived: int, folder: Path, seconds: float) -> None:
    """Print a table of the results: for each kind how many, and the first of them."""
    done = sum(row.state is State.DONE for row in rows)
    kinds = (
        ("retried", [row for row in rows if row.attempts > 1]),
        ("failed", [row for row in rows if row.state is State.FAILED]),
        ("delayed", [row for row in rows if row.name == "count-archive"]),
    )
    table = [("done", f"{done:>4}", f"in {seconds:.1f} s")]
    for kind, found in kinds:
        table.append((kind, f"{len(found):>4}", _in_words(found[0]) if found else "none"))
    table.append(("manifest", f"{archived:>4}", f"files, in {_shown(folder / 'manifest.json')}"))
    say("")
    say_table(("", "jobs", ""), table)
    say("")


def _in_words(row: JobRow) -> str:
    job = f"job {row.id} ({row.name})"
    if row.name == "count-archive" and row.finished_at and row.result:
        waited = (row.finished_at - row.created_at).total_seconds()
        files = json.loads(row.result)["files"]
        return f"{job} ran {waited:.1f} s after its push, and found {files} files"
    if row.state is State.FAILED:
        return f"{job}: {row.reason.removeprefix('litequeue.errors.')}"
    return f"{job} is {row.state} at attempt {row.attempts}: {row.reason}"


def _verify(manifest: Manifest, folder: Path) -> bool:
    """Unpack some of the files and compare them with the manifest; False if one differs."""
    some = manifest[:: max(1, len(manifest) // VERIFIED_FILES)][:VERIFIED_FILES]
    wrong = [each for each in some if _sha256(folder / str(each["archive"])) != each["sha256"]]
    for each in wrong:
        say(f"{each['archive']} differs from the manifest.")
    if some and not wrong:
        say(f"{len(some)} of the files were unpacked again: each has the SHA-256 of its original.")
    return not wrong


def _sha256(archive: Path) -> str:
    digest = hashlib.sha256()
    with gzip.open(archive) as unpacked:
        while chunk := unpacked.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _advise(folder: Path, missing: int, state: State) -> None:
    """Print commands that show more, ready to be pasted."""
    us, database = _ourselves(), shlex.quote(_shown(folder / "jobs.db"))
    say("To look further:")
    say(f"  {us} status {database}")
    say(f"  {us} list {database} --state failed")
    if state is State.FAILED:
        say(f"  {us} retry {database} {missing}")
        say(f"That job succeeds once {_shown(folder / 'missing.txt')} exists and a worker runs:")
        say(f"  {us} work {database} --drain --jobs {_example()[0]}")


def _ourselves() -> str:
    """Return how the user has called this program."""
    program = sys.argv[0]
    if os.path.basename(program) != "__main__.py":
        return "litequeue" if shutil.which("litequeue") == program else shlex.quote(program)
    for name in ("python3", "python"):
        if shutil.which(name) == sys.executable:
            return f"{name} -m litequeue"
    return f"{shlex.quote(sys.executable)} -m litequeue"


def _shown(path: Path) -> str:
    """Return a path relative to the current folder, if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
