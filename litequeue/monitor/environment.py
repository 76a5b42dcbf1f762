"""The checks of ``doctor`` on what surrounds the file: file system, free disk, permissions,
names.

They never open the file, only stat it: POSIX drops SQLite's locks when a process opens and
closes the file, its -wal or its -shm.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from litequeue.engine import locks
from litequeue.engine.database import Database
from litequeue.engine.place import mounted_alone
from litequeue.engine.presence import trust_problem
from litequeue.monitor.filesystem import filesystem, network_filesystem

Level = Literal["ok", "note", "wrong"]

MEGABYTE = 1024 * 1024
LEAST_FREE_BYTES = 64 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and the remedy if something is wrong."""

    level: Level
    examined: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The queue to check: its database, and its path quoted for a shell."""

    database: Database
    shell_path: str
    clock: Callable[[], float]

    @property
    def path(self) -> Path:
        """The real path of the file."""
        return Path(self.database.path)

    def beside(self, ending: str) -> Path:
        """Return the path of a file beside the database, such as its -wal or -workers."""
        return self.path.with_name(self.path.name + ending)


Check = Callable[[Target], Iterator[Finding]]


def file_system(target: Target) -> Iterator[Finding]:
    kind = filesystem(target.path)
    if network_filesystem(target.path):
        yield Finding(
            "wrong",
            "file system",
            f"{kind} shares files between hosts, and SQLite's WAL needs memory that only "
            "the processes of one host share",
            "move the file to a local disk; processes on other hosts cannot use it",
        )
    elif kind is None:
        yield Finding(
            "note", "file system", "the type of the file system is unknown on this system"
        )
    elif kind.startswith("fuse."):
        yield Finding(
            "note",
            "file system",
            f"{kind} is served by a program that litequeue does not know",
            "make sure that no other host sees these files, or move them to a local disk",
        )
    else:
        yield Finding("ok", "file system", f"{kind} is local to this host")


def free_disk(target: Target) -> Iterator[Finding]:
    free, own = shutil.disk_usage(target.path.parent).free, os.stat(target.path).st_size
    remedy = "free some space: a full disk stops every push and the end of every run"
    if free < LEAST_FREE_BYTES:
        yield Finding("wrong", "free disk", f"{size(free)} are left", remedy)
    elif free < own / 10:
        yield Finding(
            "note", "free disk", f"{size(free)} are left, and the file has {size(own)}", remedy
        )
    else:
        yield Finding("ok", "free disk", f"{size(free)} are left")


def permissions(target: Target) -> Iterator[Finding]:
    """Check that all users of the database may use the files beside it."""
    if sys.platform == "win32":
        return
    found = [*_forbidden(target), *_let_in(target), *_shut_out(target)]
    yield from found
    if not found:
        sentence = "all users of the file may also write the files beside it"
        yield Finding("ok", "permissions", sentence)


def _forbidden(target: Target) -> Iterator[Finding]:
    for path in (target.path, target.path.parent):
        if not os.access(path, os.W_OK):
            sentence = f"this user may not write {path}"
            remedy = "run litequeue as a user with that permission, or grant it to this one"
            yield Finding("wrong", "permissions", sentence, remedy)


def _let_in(target: Target) -> Iterator[Finding]:
    """Check that the folder of the workers admits no other users than the file."""
    folder = target.beside("-workers")
    with suppress(FileNotFoundError):
        problem = trust_problem(str(folder), os.stat(target.path))
        if problem:
            sentence, _, remedy = problem.rpartition(": ")
            yield Finding("wrong", "permissions", f"{folder} cannot be used: {sentence}", remedy)


def _shut_out(target: Target) -> Iterator[Finding]:
    file = os.stat(target.path)
    mode = file.st_mode & 0o666
    for ending in ("-wal", "-shm"):
        # SQLite gives these the mode of the database, so another mode was set later.
        yield from _compared(file, target.beside(ending), mode, "wrong")
    yield from _compared(file, target.beside("-checkpoint"), locks.writers(mode), "note")
    folder = target.beside("-workers")
    yield from _compared(file, folder, mode | (mode & 0o444) >> 2, "wrong")
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield from _compared(file, path, locks.writers(mode), "note")
        if os.stat(folder.parent).st_mode & stat.S_ISGID & ~os.stat(folder).st_mode:
            sentence = f"{folder} does not pass its group on to its files, as its folder does"
            yield Finding("wrong", "permissions", sentence, f"chmod g+s {shlex.quote(str(folder))}")


def _compared(file: os.stat_result, path: Path, wanted: int, level: Level) -> Iterator[Finding]:
    """Check that ``path`` grants the users of the file at least the mode ``wanted``."""
    try:
        other = os.stat(path)
    except FileNotFoundError:
        return
    shell_path, found = shlex.quote(str(path)), stat.S_IMODE(other.st_mode)
    if wanted & ~found:
        sentence = f"{path} has mode {found:o}, and needs {wanted:o}"
        yield Finding(level, "permissions", sentence, f"chmod {wanted:o} {shell_path}")
    if wanted & 0o002:
        return
    if wanted & 0o020 and other.st_gid != file.st_gid:
        sentence = f"{path} is of group {other.st_gid}, and the database of group {file.st_gid}"
        yield Finding("wrong", "permissions", sentence, f"chgrp {file.st_gid} {shell_path}")
    elif not wanted & 0o020 and other.st_uid != file.st_uid:
        owner = f"{file.st_uid}:{file.st_gid}"
        sentence = f"{path} is of user {other.st_uid}, and the database of user {file.st_uid}"
        yield Finding("wrong", "permissions", sentence, f"chown {owner} {shell_path}")


def names(target: Target) -> Iterator[Finding]:
    """Check that the file has one name: SQLite would use another WAL for a second one."""
    if mounted_alone(target.database.path):
        yield Finding(
            "wrong",
            "names",
            "the file is mounted by itself (a bind mount), and its WAL is not in the mount",
            "mount the folder that it is in, as in `-v ./queue:/app/queue`; litequeue refuses "
            "to push or work here",
        )
    file = os.stat(target.path)
    count = file.st_nlink
    if count > 1 and stat.S_ISREG(file.st_mode):
        yield Finding(
            "wrong",
            "names",
            f"the file has {count} names (hard links), each with a WAL of its own; litequeue "
            "refuses to push or work here",
            f"stop all workers, keep one name and remove the others; `find -samefile "
            f"{target.shell_path}` lists them",
        )


def size(count: int) -> str:
    """Return a number of bytes in its largest useful unit: 1.5 GB, 12.1 MB, 3.0 kB."""
    for unit, bytes in (("GB", 1024 * MEGABYTE), ("MB", MEGABYTE), ("kB", 1024)):
        if count >= bytes:
            return f"{count / bytes:.1f} {unit}"
    return f"{count} bytes"


ENVIRONMENT: tuple[Check, ...] = (file_system, free_disk, permissions, names)
