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
from itertools import count
from pathlib import Path

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
LOG = "workers.log"

Worker = subprocess.Popen[bytes]
Manifest = list[dict[str, str]]


def add(commands: Commands) -> None:
    """Add the command of this file."""
    demo = commands.add("demo", "take a guided tour on real files", demo_command, EXAMPLE)
    demo.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        help="the folder of the files to archive (default: Python's own library)",
    )
    demo.add_argument(
        "--folder",
        metavar="PATH",
        default="litequeue-demo",
        help="the folder to create (default: litequeue-demo; if that is from an earlier tour, "
        "litequeue-demo-2, and so on)",
    )


def demo_command(args: argparse.Namespace) -> int:
    """Take the tour; return 1 if the workers died or the archive is not whole."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        root = Path(os.path.abspath(args.directory or sysconfig.get_path("stdlib")))
        paths = _collect(root, library=args.directory is None)
        return 0 if _tour(root, paths, _make_folder(args.folder)) else 1
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise OptionError(owner="demo", problem=f"{where}{error.strerror or error}") from error


def _tour(root: Path, paths: Sequence[Path], folder: Path) -> bool:
    database, started_at = folder / "jobs.db", time.monotonic()
    with Queue(database) as queue:
        missing = _push(queue, root, paths, folder)
        say(f"Each file is a job in the queue {_shown(database)}.")
        say("One of them fails twice and is retried.")
        say(f"Two more jobs: one fails permanently, one starts after {DELAY_SECONDS} s.")
        with _working(folder) as workers:
            finished = _watch(queue, workers)
        seconds = time.monotonic() - started_at
        rows = queue.find(limit=len(paths) + 2)[::-1]
    archived = _write_manifest(rows, root, folder)
    _report(rows, len(archived), folder, seconds)
    whole = _verify(archived, folder)
    _advise(folder, missing)
    return finished and whole


def _collect(root: Path, *, library: bool) -> list[Path]:
    """Return the files to archive, and say how many there are."""
    if not root.is_dir():
        raise OptionError(owner="demo", problem=f"{root} is not a directory")
    paths: list[Path] = []
    total, more = 0, ""
    for path in _walk(root, library=library):
        bytes = path.stat().st_size
        if len(paths) == MOST_FILES or total + bytes > MOST_BYTES:
            more = f" There are more: the tour stops at {MOST_FILES} files or {size(MOST_BYTES)}."
            break
        paths.append(path)
        total += bytes
    if not paths:
        problem = f"{root} has no file that can be read; name another: demo DIR"
        raise OptionError(owner="demo", problem=problem)
    say(f"{len(paths)} files of {root} ({size(total)}) are to be compressed.{more}")
    return paths


def _walk(root: Path, *, library: bool) -> Iterator[Path]:
    """Yield the regular files that can be read, except in the folders of earlier tours."""
    for parent, folders, names in os.walk(root):
        excluded = NOT_THE_LIBRARY if library else ()
        kept = [name for name in folders if name not in excluded]
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
    first = Path(os.path.abspath(wanted))
    names = (first if n == 1 else first.with_name(f"{first.name}-{n}") for n in count(1))
    folder = next(each for each in names if not (each / MARKER).is_file())
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        problem = f"{folder} exists, and no earlier tour made it; name another --folder"
        raise OptionError(owner="demo", problem=problem)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(MARKER_TEXT)
    return folder


def _push(queue: Queue, root: Path, paths: Sequence[Path], folder: Path) -> int:
    """Push a job for each file, one that fails and one that is delayed; return the id of the
    failing one. By name: a producer does not need the code of the jobs."""
    archive, missing = folder / "archive", folder / "missing.txt"
    first, *others = (
        {"source": str(path), "target": f"{archive / path.relative_to(root)}.gz"} for path in paths
    )
    queue.push("ArchiveFromNetwork", first, queue="files", priority=10)
    queue.push_many([("ArchiveFile", payload) for payload in others], queue="files")
    payload = {"source": str(missing), "target": f"{missing}.gz"}
    failing = queue.push("ArchiveFile", payload, queue="extras", priority=10)
    queue.push("count-archive", {"folder": str(archive)}, queue="extras", delay=DELAY_SECONDS)
    return failing


@contextmanager
def _working(folder: Path) -> Iterator[list[Worker]]:
    """Two worker processes, which the end of the block stops."""
    workers: list[Worker] = []
    try:
        workers += [_start_worker(folder), _start_worker(folder)]
        say(f"Two workers do them: process {' and '.join(str(each.pid) for each in workers)}.")
        yield workers
    except KeyboardInterrupt:
        complain(f"Interrupted; what was done so far stays in {_shown(folder)}")
        raise
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            with worker:  # its end closes the parent pipe
                try:
                    worker.wait(STOP_SECONDS)
                except (subprocess.TimeoutExpired, KeyboardInterrupt):
                    worker.kill()


def _start_worker(folder: Path) -> Worker:
    command = [sys.executable, "-m", "litequeue", "work", str(folder / "jobs.db")]
    # The parent pipe is their standard input: if this process is killed, they end too.
    command += ["--jobs", _jobs(), "--quiet", "--leash", "0"]
    with (folder / LOG).open("ab") as output:
        return subprocess.Popen(
            command,
            # The examples of a clone are beside the package, not in it.
            cwd=Path(__file__).parents[2],
            # The user's settings are meant for other workers.
            env={name: value for name, value in os.environ.items() if name[:10] != "LITEQUEUE_"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process, which then stops them.
            start_new_session=True,
        )


def _jobs() -> str:
    installed = importlib.util.find_spec("litequeue.examples")
    return "litequeue.examples.archive" if installed else "examples.archive"


def _watch(queue: Queue, workers: Sequence[Worker]) -> bool:
    """Show the progress until all jobs are finished; False if no worker is left."""
    said_at = time.monotonic()
    while True:
        counts = [(state, n) for by in queue.counts().values() for state, n in by.items()]
        finished, total = sum(n for state, n in counts if state.finished), sum(n for _, n in counts)
        text, over = f"{finished} of {total} jobs are finished", finished == total
        if sys.stdout.isatty():
            sys.stdout.write("\r" + text + "\n" * over)
            sys.stdout.flush()
        elif over or time.monotonic() - said_at >= 1:
            said_at = time.monotonic()
            say(text)
        if over:
            return True
        if all(worker.poll() is not None for worker in workers):
            complain(f"No worker is left; {LOG} says why. Jobs that are not done stay.")
            return False
        time.sleep(POLL_SECONDS)


def _write_manifest(rows: Sequence[JobRow], root: Path, folder: Path) -> Manifest:
    """Write down each archived file, from the results that the queue keeps."""
    manifest: Manifest = []
    for row in rows:
        if row.queue == "files" and row.state is State.DONE and row.result:
            payload = json.loads(row.payload)
            path = str(Path(payload["source"]).relative_to(root))
            archive = str(Path(payload["target"]).relative_to(folder))
            manifest.append({"path": path, "archive": archive, **json.loads(row.result)})
    text = json.dumps({"root": str(root), "files": manifest}, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return manifest


def _report(rows: Sequence[JobRow], archived: int, folder: Path, seconds: float) -> None:
    """Print a table of the results: for each kind how many, and the first of them."""
    done = [row for row in rows if row.state is State.DONE]
    kinds = {
        "retried": [row for row in rows if row.attempts > 1],
        "failed": [row for row in rows if row.state is State.FAILED],
        "delayed": [row for row in done if row.name == "count-archive"],
    }
    table = [("done", f"{len(done):>4}", f"in {seconds:.1f} s")]
    for kind, found in kinds.items():
        table.append((kind, f"{len(found):>4}", _in_words(found[0]) if found else "none"))
    table.append(("manifest", f"{archived:>4}", f"files, in {_shown(folder / 'manifest.json')}"))
    say("")
    say_table(("", "jobs", ""), table)
    say("")


def _in_words(row: JobRow) -> str:
    job = f"job {row.id} ({row.name})"
    if row.state is State.FAILED:
        return f"{job}: {row.reason.removeprefix('litequeue.errors.')}"
    if row.name == "count-archive" and row.finished_at and row.result:
        waited = (row.finished_at - row.created_at).total_seconds()
        files = json.loads(row.result)["files"]
        return f"{job} ran {waited:.1f} s after its push, and found {files} files"
    return f"{job} is {row.state} at attempt {row.attempts}: {row.reason}"


def _verify(manifest: Manifest, folder: Path) -> bool:
    """Unpack some of the files and compare them with the manifest; False if one differs."""
    some = manifest[:: max(1, len(manifest) // VERIFIED_FILES)][:VERIFIED_FILES]
    wrong = [
        each["archive"] for each in some if _sha256(folder / each["archive"]) != each["sha256"]
    ]
    for archive in wrong:
        say(f"{archive} differs from the manifest.")
    if some and not wrong:
        say(f"{len(some)} of the files were unpacked again: each has the SHA-256 of its original.")
    return not wrong


def _sha256(archive: Path) -> str:
    digest = hashlib.sha256()
    with gzip.open(archive) as unpacked:
        while chunk := unpacked.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _advise(folder: Path, missing: int) -> None:
    """Print commands that show more, ready to be pasted."""
    us, database = _ourselves(), shlex.quote(_shown(folder / "jobs.db"))
    say("To look further:")
    say(f"  {us} status {database}")
    say(f"  {us} list {database} --state failed")
    say(f"  {us} retry {database} {missing}")
    say(f"That job succeeds once {_shown(folder / 'missing.txt')} exists and a worker runs:")
    say(f"  {us} work {database} --drain --jobs {_jobs()}")


def _ourselves() -> str:
    """Return how the user has called this program."""
    program = sys.argv[0]
    if os.path.basename(program) != "__main__.py":
        return "litequeue" if shutil.which("litequeue") == program else shlex.quote(program)
    python = "python3" if shutil.which("python3") == sys.executable else sys.executable
    return f"{shlex.quote(python)} -m litequeue"


def _shown(path: Path) -> str:
    """Return a path relative to the current folder, if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
