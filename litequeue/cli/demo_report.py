"""What the guided tour shows: how far the work is, and what has come of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from litequeue.cli.demo_files import Files, Place
from litequeue.cli.terminal import say, say_table
from litequeue.records import JobRow, State

LINE_SECONDS = 1.0
VERIFIED = 5
DETAILS = 3
CHUNK_BYTES = 1 << 20


class Archived(TypedDict):
    """One file in the manifest."""

    path: str
    archive: str
    size: int
    packed: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of some jobs are finished."""

    finished: int
    total: int

    @property
    def left(self) -> int:
        return self.total - self.finished


class Line:
    """How far the work is: on a terminal one line, written again and again; elsewhere a
    line each second."""

    def __init__(self, started_at: float) -> None:
        self._started_at = self._said_at = started_at
        self._redraws = sys.stdout.isatty()
        self._text = ""

    def show(self, files: Progress, extras: Progress, now: float) -> None:
        """Show it, if it is time to."""
        self._text = _progress_text(files, extras, max(now - self._started_at, 0.001))
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r" + self._text[:width].ljust(width))
            sys.stdout.flush()
        elif not 0 <= now - self._said_at < LINE_SECONDS:
            self._said_at = now
            self.end()

    def end(self) -> None:
        """Leave what was shown last, and begin a new line."""
        if self._text:
            say("" if self._redraws else self._text)
        self._text = ""


def _progress_text(files: Progress, extras: Progress, seconds: float) -> str:
    text = f"{files.finished} of {files.total} files"
    if not files.left:
        return text + (f", and {extras.left} other job to come" if extras.left else "")
    if not files.finished:
        return text
    rate = files.finished / seconds
    return f"{text}, {rate:.0f} a second, {files.left / rate:.0f} s left"


def write_manifest(rows: Sequence[JobRow], files: Files, place: Place) -> list[Archived]:
    """Write down each file that was archived, from the results that the queue has kept."""
    archived: list[Archived] = []
    for row in reversed(rows):
        if row.queue == "files" and row.state is State.DONE and row.result:
            archived.append(_archived(row, files, place))
    manifest = {"root": str(files.root), "files": archived}
    place.manifest.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return archived


def _archived(row: JobRow, files: Files, place: Place) -> Archived:
    payload, result = json.loads(row.payload), json.loads(row.result or "{}")
    return Archived(
        path=str(Path(payload["source"]).relative_to(files.root)),
        archive=str(Path(payload["target"]).relative_to(place.folder)),
        size=result["size"],
        packed=result["packed"],
        sha256=result["sha256"],
    )


def report(rows: Sequence[JobRow], archived: int, place: Place, seconds: float) -> None:
    """Say what has come of the jobs, as a table."""
    done = sum(row.state is State.DONE for row in rows)
    table = [("done", str(done), f"in {seconds:.1f} s")]
    table += _lines("retried", _retry, [row for row in rows if row.attempts > 1])
    table += _lines("failed", _failure, [row for row in rows if row.state is State.FAILED])
    table += _lines("delayed", _delay, [row for row in rows if row.name == "count-archive"])
    table += [("manifest", str(archived), f"files, in {shown(place.manifest)}")]
    say("")
    say_table(("", "jobs", ""), [(word, f"{number:>4}", text) for word, number, text in table])
    say("")


def _lines(
    word: str, text: Callable[[JobRow], str], rows: Sequence[JobRow]
) -> list[tuple[str, str, str]]:
    """The table's lines for some rows: their number, and what is to be said of the first."""
    texts = [text(row) for row in rows[:DETAILS]]
    if len(rows) > DETAILS:
        texts.append(f"and {len(rows) - DETAILS} more")
    words, numbers = [word, *[""] * len(texts)], [str(len(rows)), *[""] * len(texts)]
    return list(zip(words, numbers, texts or ["none"], strict=False))


def _retry(row: JobRow) -> str:
    return f"job {row.id} ({row.name}) is {row.state} at attempt {row.attempts}: {_reason(row)}"


def _failure(row: JobRow) -> str:
    return f"job {row.id} ({row.name}): {_reason(row)}"


def _delay(row: JobRow) -> str:
    if row.state is not State.DONE or row.finished_at is None or row.result is None:
        return f"job {row.id} ({row.name}) is {row.state}"
    waited = (row.finished_at - row.created_at).total_seconds()
    files = json.loads(row.result)["files"]
    return f"job {row.id} ({row.name}) ran {waited:.1f} s after its push, and found {files} files"


def _reason(row: JobRow) -> str:
    return row.reason.removeprefix("litequeue.errors.Fail: ")


def verify(archived: Sequence[Archived], place: Place) -> bool:
    """Unpack some of the files and compare them with the manifest; False if one differs."""
    some = archived[:: max(1, len(archived) // VERIFIED)][:VERIFIED]
    wrong = [each for each in some if _unpacked(place.folder / each["archive"]) != each["sha256"]]
    for each in wrong:
        say(f"{each['archive']} is not what the manifest says.")
    if some and not wrong:
        say(f"{len(some)} of the files were unpacked again: each has the SHA-256 of its original.")
    return not wrong


def _unpacked(archive: Path) -> str:
    digest = hashlib.sha256()
    with gzip.open(archive) as unpacked:
        while chunk := unpacked.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def advise(rows: Sequence[JobRow], place: Place, package: str) -> None:
    """Tell the commands to look further, as they can be pasted."""
    us, database = _ourselves(), shlex.quote(shown(place.database))
    say("To look further:")
    say(f"  {us} status {database}")
    say(f"  {us} list {database} --state failed")
    failed = [row for row in rows if row.state is State.FAILED]
    if failed:
        say(f"  {us} retry {database} {failed[-1].id}")
        say(f"That job succeeds once {shown(place.missing)} exists and a worker runs again:")
        say(f"  {us} work {database} --drain --jobs {package}")


def _ourselves() -> str:
    """How the user has called this program."""
    program = sys.argv[0]
    if os.path.basename(program) != "__main__.py":
        return "litequeue" if shutil.which("litequeue") == program else shlex.quote(program)
    for name in ("python3", "python"):
        if shutil.which(name) == sys.executable:
            return f"{name} -m litequeue"
    return f"{shlex.quote(sys.executable)} -m litequeue"


def shown(path: Path) -> str:
    """A path as short as it can be told from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def size(number: int) -> str:
    """A number of bytes for people: 12.1 MB."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"
