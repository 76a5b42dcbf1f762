"""The guided tour, from the first push to the last advice."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from litequeue.cli.demo_files import MOST_BYTES, MOST_FILES, Files, Place, made
from litequeue.cli.demo_report import (
    Line,
    Progress,
    advise,
    report,
    shown,
    size,
    verify,
    write_manifest,
)
from litequeue.cli.terminal import complain, say
from litequeue.queue import Queue

WORKERS = 2
STOP_SECONDS = 10
LOOK_SECONDS = 0.1
DELAY_SECONDS = 2
FIRST = 10  # the priority of the jobs that the tour is about

Workers = list[subprocess.Popen[bytes]]


def tour(files: Files, folder: str) -> bool:
    """Take the tour; False if no worker lived to its end, or the archive is not whole."""
    place = made(folder)
    with Queue(place.database) as queue:
        started_at = queue.store.clock()
        _push(queue, files, place)
        _introduce(files, place)
        with _working(place) as workers:
            finished = _watch(queue, workers, place)
        seconds = queue.store.clock() - started_at
        rows = queue.find(limit=len(files.paths) + 2)
    archived = write_manifest(rows, files, place)
    report(rows, len(archived), place, seconds)
    whole = verify(archived, place)
    advise(rows, place, _example()[0])
    return finished and whole


def _push(queue: Queue, files: Files, place: Place) -> None:
    """Push a job for each file, and two to look at; by name, for which a producer does
    not need the code of the jobs."""
    first, *others = (_payload(files.root / path, place.archive / path) for path in files.paths)
    queue.push("ArchiveFromNetwork", first, queue="files", priority=FIRST)
    queue.push_many([("ArchiveFile", payload) for payload in others], queue="files")
    missing = _payload(place.missing, place.missing)
    queue.push("ArchiveFile", missing, queue="extras", priority=FIRST)
    folder = {"folder": str(place.archive)}
    queue.push("count-archive", folder, queue="extras", delay=DELAY_SECONDS)


def _payload(source: Path, target: Path) -> dict[str, object]:
    return {"source": str(source), "target": f"{target}.gz"}


def _introduce(files: Files, place: Place) -> None:
    number = len(files.paths)
    say(f"{number} files of {files.root} ({size(files.bytes)}): each is to be compressed.")
    if files.capped:
        say(f"There are more; the tour stops at {MOST_FILES} files or {size(MOST_BYTES)}.")
    if files.unreadable:
        say(f"Left out: {files.unreadable} that cannot be read.")
    say(f"Each is a job in the queue {shown(place.database)}. One is made to fail twice and")
    say(f"be retried, one more to fail for good, and one more starts {DELAY_SECONDS} s late.")


# The workers


@contextmanager
def _working(place: Place) -> Iterator[Workers]:
    """Two worker processes, which the end of the block stops."""
    workers: Workers = []
    try:
        for number in range(1, WORKERS + 1):
            workers.append(_started(place, number))
        say(f"Two workers do them: process {' and '.join(str(each.pid) for each in workers)}.")
        yield workers
    except KeyboardInterrupt:
        complain(f"Interrupted; what was done so far stays in {shown(place.folder)}")
        raise
    finally:
        _shutdown(workers)


def _started(place: Place, number: int) -> subprocess.Popen[bytes]:
    package, start = _example()
    command = [sys.executable, "-m", "litequeue", "work", str(place.database)]
    # The leash is their standard input: should this process be killed, they end too.
    command += ["--jobs", package, "--quiet", "--leash", "0"]
    # What the environment says to the user's own workers is not meant for these.
    mine = {name: value for name, value in os.environ.items() if not name.startswith("LITEQUEUE_")}
    with place.log(number).open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=start,
            env=mine,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process, which then stops them.
            start_new_session=True,
        )


def _example() -> tuple[str, Path]:
    """The package of the jobs, and the folder for workers to start in."""
    if importlib.util.find_spec("litequeue.examples"):
        return "litequeue.examples.archive", Path.cwd()
    # In a clone it is beside the package, and not in it.
    return "examples.archive", Path(__file__).parents[2]


def _shutdown(workers: Workers) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        # Its end closes the leash.
        with worker:
            try:
                worker.wait(STOP_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                worker.kill()


def _watch(queue: Queue, workers: Workers, place: Place) -> bool:
    """Show how far they are until all is done; False where no worker is left to do it."""
    line = Line(queue.store.clock())
    alive = dict(enumerate(workers, start=1))
    while alive:
        files, extras = _progress(queue, "files"), _progress(queue, "extras")
        line.show(files, extras, queue.store.clock())
        if files.left == extras.left == 0:
            break
        for number, worker in list(alive.items()):
            if worker.poll() is not None:
                del alive[number]
                line.end()
                _report_death(worker, place.log(number))
        for worker in list(alive.values())[:1]:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(LOOK_SECONDS)
    line.end()
    if not alive:
        complain("No worker is left; what is not done stays in the queue.")
    return bool(alive)


def _progress(queue: Queue, name: str) -> Progress:
    counts = queue.counts().get(name, {})
    finished = sum(number for state, number in counts.items() if state.finished)
    return Progress(finished, sum(counts.values()))


def _report_death(worker: subprocess.Popen[bytes], log: Path) -> None:
    complain(f"Worker process {worker.pid} ended with status {worker.returncode}; its last lines:")
    for line in log.read_text(errors="replace").splitlines()[-3:]:
        complain(f"  {line}")
