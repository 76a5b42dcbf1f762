"""Checks the path of a database: that it names a file, and that the file has no second name.

SQLite finds the -wal and the -shm by the name of the file. Under a second name the file has
a second WAL, and writes under one name are invisible under the other: jobs run twice or are
lost.
"""

from __future__ import annotations

import errno
import os

from litequeue.errors import CannotOpen

MOUNTS = "/proc/self/mountinfo"

# How the kernel escapes these characters in the mount table.
ESCAPED = ((b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012"))


def path_of(path: str | bytes | os.PathLike[str]) -> str:
    """The path as text; raises CannotOpen for anything but a file path: ":memory:", a URI."""
    name = os.fsdecode(path)
    if name in ("", ":memory:"):
        raise CannotOpen(path=repr(name), problem="a queue needs a file")
    if _is_uri(name):
        problem = f"a queue takes a file path, not a URI; for a file of this name, write ./{name}"
        raise CannotOpen(path=name, problem=problem)
    if "\0" in name:
        raise CannotOpen(path=repr(name), problem="a path has no null character")
    return name


def _is_uri(name: str) -> bool:
    """Whether the name is a URI, as other libraries accept for a database:
    "sqlite:///jobs.db", "file:jobs.db?mode=ro"."""
    # Compiling a regular expression would take a producer longer than all of this.
    scheme, _, rest = name.partition(":")
    if scheme.lower() == "file" and ":" in name:
        return True
    # A Path collapses several slashes to one, and a single letter is a Windows drive.
    letters = scheme.translate(str.maketrans("", "", "+.-"))
    return rest.startswith("/") and len(scheme) > 1 and letters.isascii() and letters.isalnum()


def check_links(path: str, found: os.stat_result) -> None:
    """Raise CannotOpen if the file that was ``found`` at ``path`` has hard links."""
    if found.st_nlink > 1:
        from shlex import quote  # only for this message

        where, name = quote(os.path.dirname(path)), quote(path)
        problem = (
            f"it has {found.st_nlink} names (hard links), each with a WAL of its own, so jobs "
            "would run twice or be lost. Stop what uses it, keep one name and remove the others: "
            f"`find {where} -samefile {name}` lists those in its folder"
        )
        raise CannotOpen(path=path, problem=problem)


def check_mount(path: str) -> None:
    """Raise CannotOpen if the file itself is a mount point, without the folder around it."""
    if mounted_alone(path):
        problem = (
            "it is a bind mount of this file alone, so its WAL would stay outside of the mount, "
            "invisible to other users of the file. Mount the folder that contains it, as in "
            "`-v ./queue:/app/queue`"
        )
        raise CannotOpen(path=path, problem=problem)


def mounted_alone(path: str) -> bool:
    """Whether a file, named by its real path, is a mount point; False if this system has
    no mount table."""
    point = os.fsencode(path)
    for sign, digits in ESCAPED:
        point = point.replace(sign, digits)
    try:
        with open(MOUNTS, "rb", buffering=0) as mounts:
            table = mounts.read()
    except OSError:
        return False
    if b" %b " % point not in table:
        return False
    over = [line.split()[4] for line in table.splitlines()]
    # A later mount on one of its parent folders hides it.
    found = [each for each in over if point == each or point.startswith(each.rstrip(b"/") + b"/")]
    return bool(found) and found[-1] == point


NO_DESCRIPTORS = (
    "this process has reached its limit of open files: close those that it does not need, or raise "
    "the limit (ulimit -n, and LimitNOFILE= in a unit of systemd)"
)
# A database, its -wal and its -shm.
FILES_OF_A_DATABASE = 3


def descriptors_used_up() -> bool:
    """Whether this process, or this machine, has no descriptors left for a database."""
    spare: list[int] = []
    try:
        while len(spare) < FILES_OF_A_DATABASE:
            spare.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for descriptor in spare:
            os.close(descriptor)
    return False
