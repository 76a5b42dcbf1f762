"""Checks the file of a queue and its environment, and suggests remedies.

Nothing here writes to the tables. A large WAL is emptied: that shows whether a reader blocks
checkpoints.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from litequeue.engine import schema
from litequeue.engine.checkpoint import CHECKPOINT_BYTES
from litequeue.engine.database import Database
from litequeue.engine.notifier import unused_fifos
from litequeue.engine.presence import Presence
from litequeue.errors import CannotOpen, DatabaseError
from litequeue.monitor.environment import ENVIRONMENT, Check, Finding, Target, size
from litequeue.monitor.status import RUNNING_OF_WORKERS, jobs_counted, span
from litequeue.store.invariants import violations

# How far the clock may be behind the newest job without a note.
CLOCK_SECONDS = 60
SHOWN = 5


def examine(
    path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """Examine the queue at ``path`` and yield each finding as it is made.

    Raises the DatabaseError that says why the file cannot be opened as a queue.
    """
    database = Database(path, create=False, as_found=True)
    target = Target(database, shlex.quote(os.fspath(path)), clock)
    # Before SQLite opens the file: for root, it sets the owner of the -wal right.
    environment = [found for each in ENVIRONMENT for found in _guarded(each, target)]
    try:
        try:
            version = _version(target)
        except DatabaseError:
            if not (blamed := [found for found in environment if _of_the_place(found)]):
                raise
            yield from blamed
            return
        yield from environment
        current = version == schema.KNOWN
        for examination in (*OF_THE_FILE, *(OF_THE_ROWS if current else ()), moved):
            yield from _guarded(examination, target)
    finally:
        target.database.close()


def _of_the_place(found: Finding) -> bool:
    """Return whether the location of the file explains that it cannot be read: a network file
    system, or a second name, under which it may look empty."""
    return found.level == "wrong" and found.examined in ("file system", "names")


def _version(target: Target) -> int:
    version = schema.version_of(target.database)
    if not version:
        problem = "there is no queue in it yet; the first push makes one"
        raise CannotOpen(path=target.path, problem=problem)
    return version


def _guarded(examination: Check, target: Target) -> Iterator[Finding]:
    """Report a check that fails as a finding, and continue with the others."""
    try:
        yield from examination(target)
    except (DatabaseError, OSError) as error:
        name = examination.__name__.replace("_", " ")
        remedy = "correct the other problems, then run doctor again"
        yield Finding("wrong", name, f"it could not be examined: {error}", remedy)


# The file


def sqlite_version(target: Target) -> Iterator[Finding]:
    version = str(target.database.rows("select sqlite_version()")[0][0])
    if has_wal_reset_bug(version):
        yield Finding(
            "note",
            "SQLite",
            f"version {version} can lose commits where several processes checkpoint one file "
            "(https://sqlite.org/wal.html#walresetbug); litequeue's own checkpoints avoid it, "
            "those of other programs on the file do not",
            "let no other program write this file, or use a Python with SQLite 3.51.3 or newer",
        )
    else:
        yield Finding("ok", "SQLite", f"version {version}")


def has_wal_reset_bug(version: str) -> bool:
    """Return whether it is SQLite 3.7.0 to 3.51.2, but not 3.44.6 or 3.50.7, which are fixed."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    fixed = ((3, 44, 6), (3, 50, 7))
    if any(numbers[:2] == start[:2] and numbers >= start for start in fixed):
        return False
    return (3, 7, 0) <= numbers < (3, 51, 3)


def journal_mode(target: Target) -> Iterator[Finding]:
    mode = target.database.rows("pragma journal_mode")[0][0]
    if mode == "wal":
        yield Finding("ok", "journal mode", "it is WAL")
    else:
        remedy = f"`litequeue status {target.shell_path}` sets it; find out what has changed it"
        yield Finding("wrong", "journal mode", f"it is {mode}, and must be WAL", remedy)


def wal(target: Target) -> Iterator[Finding]:
    path = target.beside("-wal")
    before = _file_size(path)
    if before <= CHECKPOINT_BYTES:
        yield Finding("ok", "WAL", f"it has {size(before)}")
        return
    if target.database.checkpoint():
        yield Finding("ok", "WAL", f"it had {size(before)} and could be emptied")
    else:
        yield Finding(
            "note",
            "WAL",
            f"it has {size(before)} and cannot be emptied: a reader has been active too long",
            f"look for a program that holds a transaction or an unfinished query open: "
            f"`fuser -v {shlex.quote(str(path))}` lists who has the file open",
        )


# How the lines of integrity_check begin that are about a value.
OF_VALUES = ("CHECK constraint failed in", "NULL value in", "NUMERIC value in", "TEXT value in")


def integrity(target: Target) -> Iterator[Finding]:
    """Run the full integrity check: the quick one does not compare indexes with rows, and a
    claim reads only an index."""
    lines = [str(line) for (line,) in target.database.rows("pragma integrity_check")]
    # A wrong value is not damage to the file; the check of the invariants reports its row.
    found = [line for line in lines if line != "ok" and not line.startswith(OF_VALUES)]
    if not found:
        yield Finding("ok", "integrity", "every page of the file was read, and it is sound")
        return
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    restore = "stop all workers and restore a backup"
    if all("index" in line for line in found):
        restore = "stop all workers and run `reindex;` in the file; if it does not help, " + restore
    yield Finding("wrong", "integrity", "; ".join(found[:SHOWN]) + more, restore)


def schema_version(target: Target) -> Iterator[Finding]:
    version = schema.version_of(target.database)
    if version == schema.KNOWN:
        yield Finding("ok", "schema", f"version {version}")
    else:
        yield Finding(
            "note",
            "schema",
            f"version {version}, and this litequeue writes {schema.KNOWN}; the rows were not "
            "examined",
            f"`litequeue schema {target.shell_path}` brings it up to date, as the next use does",
        )


# The rows

OBJECTS = """
select type, name, sql
from sqlite_master
where sql is not null
  and (name like 'litequeue\\_%' escape '\\' or tbl_name like 'litequeue\\_%' escape '\\')
order by name"""


def tables(target: Target) -> Iterator[Finding]:
    """Check that all tables, indexes and views are as schema.py creates them."""
    ours, found = _as_made(), _objects(target.database)
    sound = True
    for name, (kind, statement) in ours.items():
        if _unchecked(found.get(name, ("", ""))[1]) != _unchecked(statement):
            sound = False
            yield _changed(kind, name, statement, missing=name not in found)
    for name in sorted(found.keys() - ours.keys()):
        kind = found[name][0]
        sentence = f"the {kind} {name} is not litequeue's, but uses its tables or its prefix"
        yield Finding("note", "tables", sentence, f"if it is not needed: drop {kind} {name};")
    if sound:
        yield Finding(
            "ok", "tables", f"all {len(ours)} tables, indexes and views are as litequeue makes them"
        )


# A CHECK constraint, which may contain one level of parentheses.
CHECK = re.compile(r" check \((?:[^()]|\([^()]*\))*\)")


def _unchecked(statement: str) -> str:
    """Return a statement without its CHECK constraints, of which older files have fewer."""
    return CHECK.sub("", statement.lower())


def _changed(kind: str, name: str, statement: str, *, missing: bool) -> Finding:
    what = "is missing" if missing else "is not as litequeue makes it"
    if kind == "table" and (name == "litequeue_jobs" or not missing):
        remedy = "stop all workers and restore a backup"
    else:
        drop = "" if missing else f"drop {kind} {name}; "
        remedy = f"stop all workers and run in the file: {drop}{statement};"
    return Finding("wrong", "tables", f"the {kind} {name} {what}", remedy)


def _as_made() -> dict[str, tuple[str, str]]:
    """Return the objects of a new queue."""
    with tempfile.TemporaryDirectory(prefix="litequeue-doctor-") as folder:
        fresh = Database(Path(folder) / "fresh.db")
        try:
            schema.upgrade(fresh)
            return _objects(fresh)
        finally:
            fresh.close()


def _objects(database: Database) -> dict[str, tuple[str, str]]:
    return {name: (kind, " ".join(sql.split())) for kind, name, sql in database.rows(OBJECTS)}


def invariants(target: Target) -> Iterator[Finding]:
    found = violations(target.database)
    for sentence in found:
        remedy = f"`litequeue show {target.shell_path} ID` shows more; correct the row with SQL"
        yield Finding("wrong", "invariants", sentence, remedy)
    if not found:
        yield Finding("ok", "invariants", "every row is consistent and can be read")


def orphans(target: Target) -> Iterator[Finding]:
    found = [*_dead(target), *_strays(target), *_unused(target)]
    yield from found
    if not found:
        yield Finding("ok", "orphans", "no jobs and no files of dead workers are left")


def _dead(target: Target) -> Iterator[Finding]:
    """Find dead workers. The list is read before and after the locks: a worker that starts or
    ends in between is not dead."""
    presence = Presence(target.database, target.clock)
    counts: dict[int, int] = dict(target.database.rows(RUNNING_OF_WORKERS))
    before = {worker.id for worker in presence.workers()}
    alive = {worker.id for worker in presence.alive()}
    dead = before & {worker.id for worker in presence.workers()} - alive
    left = sum(counts.get(worker, 0) for worker in dead)
    if dead:
        workers = "1 dead worker" if len(dead) == 1 else f"{len(dead)} dead workers"
        jobs = jobs_counted(left) if left else "no jobs"
        sentence = f"{workers} listed, with {jobs} left running"
        does = "rescues the jobs" if left else "removes the entries"
        remedy = f"start a worker, which {does}: `litequeue work {target.shell_path}`"
        yield Finding("note", "orphans", sentence, remedy)


def _strays(target: Target) -> Iterator[Finding]:
    presence = Presence(target.database, target.clock)
    # The files first: a worker that leaves removes its files before its row.
    files = sorted(presence.folder.glob("[0-9a-f]" * 12 + "*"))
    listed = {worker.name for worker in presence.workers()}
    for path in files:
        if path.stem not in listed and path.exists():
            remedy = f"when no worker is alive: rm {shlex.quote(str(path))}"
            yield Finding("note", "orphans", f"{path} belongs to no listed worker", remedy)


def _unused(target: Target) -> Iterator[Finding]:
    folder = target.beside("-workers")
    names = unused_fifos(folder)
    if names:
        count = "1 FIFO" if len(names) == 1 else f"{len(names)} FIFOs"
        sentence = f"no worker reads {count} in {folder}, such as {names[0]}"
        remedy = f"when no worker is alive: rm {shlex.quote(str(folder))}/wake-*"
        yield Finding("note", "orphans", sentence, remedy)


NEWEST = """
select max(created_at)
from litequeue_jobs
where typeof(created_at) = 'integer'"""


def clock(target: Target) -> Iterator[Finding]:
    newest = target.database.rows(NEWEST)[0][0]
    behind = 0 if newest is None else newest / 1000 - target.clock()
    if behind > CLOCK_SECONDS:
        yield Finding(
            "note",
            "clock",
            f"it is {span(behind)} behind the newest job: it was set back, or was ahead before",
            "correct it (timedatectl); until then, scheduled jobs run late by that much",
        )
    else:
        yield Finding("ok", "clock", "it is not behind the newest job")


def moved(target: Target) -> Iterator[Finding]:
    if target.database.moved():
        remedy = "run doctor again: these findings are about the file that was there before"
        yield Finding("wrong", "path", "the file was deleted or replaced meanwhile", remedy)


def _file_size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


OF_THE_FILE: tuple[Check, ...] = (
    sqlite_version, journal_mode, wal, schema_version, integrity,
)  # fmt: skip
OF_THE_ROWS: tuple[Check, ...] = (tables, invariants, orphans, clock)
