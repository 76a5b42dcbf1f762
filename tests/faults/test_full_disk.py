"""No room left: for a push, a claim, an end. A disk of its own, where this machine lets
one be made; a limit of SQLite's on the pages of the file elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import Child

from litequeue import Queue
from litequeue.errors import DatabaseFull

from .harness import Program, World
from .jobs_for_faults import MODE, PREFETCHING, Scripted
from .journal import OK, START

NEW_NAMESPACE, NEW_USER, PRIVATE = 0x20000, 0x10000000, 0x40000 | 0x4000

# A worker whose file may grow to the pages that it has, until there is a file "room".
LIMITED = """
import logging, os, sys
import jobs_for_faults
from jobs_for_faults import PREFETCH
from litequeue import Queue, Worker
from litequeue.worker import executor
from litequeue.worker import worker
from litequeue.worker.worker import Limits

logging.basicConfig(format="%(message)s")
executor.SETTLE_PAUSE_SECONDS = worker.TROUBLE_SECONDS = 0.05
queue = Queue("jobs.db")
pages = queue.store.database.rows("pragma page_count")[0][0]
fetch = queue.store.database._fetch

def limited(link, *statement):
    most = 1 << 30 if os.path.exists("room") else pages
    link.connection.execute(f"pragma max_page_count = {most}")
    return fetch(link, *statement)

queue.store.database._fetch = limited
print("ready", flush=True)
sys.exit(Worker(queue, jobs_for_faults, prefetch=PREFETCH, limits=Limits(drain=True)).run())
"""


def test_an_end_that_finds_the_disk_full_waits_for_room(world: World) -> None:
    id = world.push("big", keep=60)
    worker = world.script(LIMITED)
    worker.said(f"the end of job {id} is not written yet")
    assert world.queue.get(id).state == "running"
    (world.folder / "room").touch()
    worker.ends_with(0)
    assert world.journal.names(id) == [START, OK]
    assert len(str(world.queue.result(id))) > 1_000_000
    assert world.ends(id) == [6]


def test_a_worker_that_is_killed_while_its_end_waits_for_room_loses_nothing(world: World) -> None:
    id = world.push("big", "ok", keep=60)
    worker = world.script(LIMITED)
    worker.said(f"the end of job {id} is not written yet")
    worker.kill()
    world.work("--drain").ends_with(0)
    assert world.ends(id) == [6]
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 2]


def a_prefetch_without_room(world: World) -> tuple[list[int], int, Program]:
    """Jobs whose results a worker holds for a child, while the file is full."""
    parents = [world.push("page") for _ in range(2)]
    child = world.push("take", after=parents)
    worker = world.script(LIMITED)
    worker.said("is not written yet")
    assert all(world.journal.names(id) == [START, OK] for id in parents[:1])
    return parents, child, worker


def test_the_ends_of_a_prefetch_wait_for_room_on_a_full_disk(world: World) -> None:
    parents, child, worker = a_prefetch_without_room(world)
    (world.folder / "room").touch()
    worker.ends_with(0)
    world.gone(*parents, child)
    assert [world.journal.names(id) for id in [*parents, child]] == [[START, OK]] * 3


def test_the_prefetch_of_a_worker_that_was_killed_on_a_full_disk_is_completed(
    world: World,
) -> None:
    parents, child, worker = a_prefetch_without_room(world)
    worker.kill()
    world.work("--drain").ends_with(0)
    world.gone(*parents, child)
    runs = [len(world.journal.of(id, START)) for id in [*parents, child]]
    # One by one, the first was not noted as a success when its worker died.
    assert runs == ([1, 1, 1] if MODE == PREFETCHING else [2, 1, 1])


def test_a_push_that_finds_no_room_stores_nothing_and_says_so(world: World) -> None:
    queue = Queue(world.path)
    pages = queue.store.database.rows("pragma page_count")[0][0]
    queue.store.database.rows(f"pragma max_page_count = {pages}")
    with pytest.raises(DatabaseFull, match=r"cannot grow .* nothing was written"):
        queue.push_many([Scripted(endings=["x" * 5000]) for _ in range(100)])
    assert queue.counts() == {}
    with pytest.raises(DatabaseFull):
        queue.push(Scripted(endings=["x" * 500_000]))
    queue.store.database.rows(f"pragma max_page_count = {1 << 30}")
    assert queue.push(Scripted()) == 1
    queue.close()


# What a program in a disk of its own, of 1 MB, does first.
ON_A_SMALL_DISK = """
import ctypes, logging, os, sys
libc = ctypes.CDLL(None, use_errno=True)
flags = {flags}
assert libc.unshare(flags) == 0, "unshare"
assert libc.mount(b"none", b"/", None, {private}, None) == 0, "private"
os.makedirs("disk", exist_ok=True)
assert libc.mount(b"tmpfs", b"disk", b"tmpfs", 0, b"size=1m") == 0, "mount"
os.environ["FAULTS_JOURNAL"] = os.path.abspath("journal")
os.chdir("disk")

import jobs_for_faults
from jobs_for_faults import PREFETCH, Scripted
from litequeue import Queue, Worker
from litequeue.worker import executor
from litequeue.worker import worker
from litequeue.errors import DatabaseFull
from litequeue.worker.worker import Limits

def fill():
    with open("filler", "wb", 0) as filler:
        for size in (4096, 512, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass

def make_room():
    os.unlink("filler")

logging.basicConfig(format="%(message)s")
executor.SETTLE_PAUSE_SECONDS = worker.TROUBLE_SECONDS = 0.02
queue = Queue("jobs.db")
"""

PUSHING = """
first = queue.push(Scripted())
fill()
try:
    while True:
        queue.push(Scripted())
except DatabaseFull as error:
    print(error)
pushed = queue.counts()["default"]
make_room()
queue.push(Scripted())
print("after", sum(queue.counts()["default"].values()) - sum(pushed.values()))
"""

# Whoever complains of the full disk finds it empty again at its third complaint.
COMPLAINING = """
class Relief(logging.Handler):
    count = 0
    def emit(self, record):
        print(record.getMessage(), flush=True)
        Relief.count += 1
        if Relief.count == 3:
            make_room()

logging.getLogger("litequeue").addHandler(Relief())
"""

CLAIMING = (
    COMPLAINING
    + """
queue.push(Scripted())
rescue_and_adopt = Worker._rescue_and_adopt
def full_from_now_on(self, registration):
    result = rescue_and_adopt(self, registration)
    if not Relief.count and not os.path.exists("filler"):
        fill()
    return result
Worker._rescue_and_adopt = full_from_now_on
"""
)

ENDING = (
    COMPLAINING
    + """
def fill_it_and_the_last_page_of_the_wal():
    fill()
    try:
        while True:
            queue.store.database.change("update litequeue_jobs set priority = priority + 1")
    except DatabaseFull:
        pass

jobs_for_faults.ENDINGS["fill"] = fill_it_and_the_last_page_of_the_wal
queue.push(Scripted(endings=["fill"]))
"""
)

BEGINNING = """
from litequeue.errors import CannotOpen
from litequeue.engine.prefetch_log import SIZE
queue.push(Scripted())
fill()
for room in (0, 1, SIZE // 2, 100 * SIZE):
    os.truncate("filler", max(0, os.path.getsize("filler") - room))
    try:
        Worker(queue, jobs_for_faults, prefetch=PREFETCH, limits=Limits(drain=True)).run()
    except (CannotOpen, DatabaseFull) as error:
        print("told", str(error).replace(chr(10), " "))
print("left", queue.counts(), "files", os.listdir("jobs.db-workers"))
"""

OPENING = """
import sqlite3
fill()
def start_anew():
    for name in os.listdir("."):
        if name.startswith("new.db"):
            os.unlink(name)

for kilobytes in (0, 4, 8, 16, 24, 32, 40):
    os.truncate("filler", max(0, os.path.getsize("filler") - (kilobytes << 10)))
    start_anew()
    try:
        with Queue("new.db") as new:
            new.push(Scripted())
    except Exception as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
    fill()
start_anew()
make_room()
with Queue("new.db") as new:
    print("pushed", new.push(Scripted()))
"""

CHECKPOINTING = """
id = queue.push(Scripted())
queue.store.database.checkpoint()
for _ in range(100):
    queue.store.database.change("update litequeue_jobs set priority = priority + 1")
before = os.stat("jobs.db-wal").st_size
fill()
try:
    while True:
        queue.store.database.change("update litequeue_jobs set priority = priority + 1")
except DatabaseFull:
    print(queue.store.database.checkpoint(), os.stat("jobs.db-wal").st_size < before / 4)
queue.push(Scripted())
print("pushed", queue.check())
"""

NO_INODES = """
assert libc.mount(b"tmpfs", b".", b"tmpfs", 0, b"size=1m,nr_inodes=2") == 0, "mount"
os.chdir("../disk")
open("one", "w").close()
try:
    Queue("new.db")
except DatabaseFull as error:
    print(error)
"""

WORKING = """
status = Worker(queue, jobs_for_faults, prefetch=PREFETCH, limits=Limits(drain=True)).run()
print("left", queue.counts(), "laws", queue.check(), "complaints", Relief.count)
sys.exit(status)
"""


@pytest.fixture
def on_a_small_disk(world: World) -> Callable[[str], str]:
    """Runs a script on a disk of 1 MB that nobody else sees; returns what it printed."""
    if not can_mount(world.folder):
        pytest.skip("this machine lets nobody mount a disk here")
    flags = NEW_NAMESPACE if os.geteuid() == 0 else NEW_NAMESPACE | NEW_USER
    head = ON_A_SMALL_DISK.format(flags=flags, private=PRIVATE)

    def run(script: str) -> str:
        program = world.script(head + script)
        program.ends_with(0)
        return program.out()

    return run


def test_pushes_go_on_after_a_full_disk_has_room_again(
    on_a_small_disk: Callable[[str], str],
) -> None:
    said = on_a_small_disk(PUSHING)
    assert "cannot grow" in said
    assert "after 1" in said


@pytest.mark.parametrize("moment", ["claim", "end"])
def test_a_worker_on_a_full_disk_waits_and_goes_on_when_there_is_room(
    moment: str, world: World, on_a_small_disk: Callable[[str], str]
) -> None:
    said = on_a_small_disk((CLAIMING if moment == "claim" else ENDING) + WORKING)
    assert "cannot grow" in said
    assert "left {} laws []" in said
    assert world.journal.names(1) == [START, OK]


def test_a_queue_that_is_made_on_a_full_disk_says_that_it_is_full(
    on_a_small_disk: Callable[[str], str],
) -> None:
    *told, last = on_a_small_disk(OPENING).splitlines()
    assert last == "pushed 1"
    assert len(told) >= 3, told
    assert all(line.startswith("DatabaseFull ") and "is full" in line for line in told), told


def test_a_queue_for_whose_file_no_inode_is_left_says_so(
    on_a_small_disk: Callable[[str], str],
) -> None:
    assert "its disk has no free inodes" in on_a_small_disk(NO_INODES)


def test_a_long_wal_on_a_full_disk_is_emptied_where_the_file_need_not_grow(
    on_a_small_disk: Callable[[str], str],
) -> None:
    assert on_a_small_disk(CHECKPOINTING).splitlines() == ["True True", "pushed []"]


SHORT_FILES = """
import os, resource, sys
from litequeue.errors import DatabaseError
from litequeue.queue import Queue
most = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    with Queue(sys.argv[1]) as queue:
        while True:
            queue.push("a", {"text": "x" * 1000})
except DatabaseError as error:
    os.write(1, type(error).__name__.encode() + b" " + str(error).encode())
"""


@pytest.mark.parametrize("most", [1000, 5000, 20_000, 60_000, 200_000])
def test_a_limit_on_the_length_of_files_is_named(
    start: Callable[..., Child], tmp_path: Path, most: int
) -> None:
    pytest.importorskip("resource")
    told = start(SHORT_FILES, tmp_path / "jobs.db", most).finish()
    assert told.startswith("DatabaseRefused ")
    assert f"this process may not write files longer than {most} bytes (ulimit -f)" in told


def test_a_worker_without_room_for_its_prefetch_log_says_so_and_begins_when_there_is(
    world: World, on_a_small_disk: Callable[[str], str]
) -> None:
    said = on_a_small_disk(BEGINNING)
    assert said.count("told") >= 2, said
    assert "workers keep their locks there (No space left on device)" in said
    assert "left {} files" in said
    assert ".hand" not in said
    assert world.journal.names(1) == [START, OK]


def can_mount(folder: Path) -> bool:
    """Whether a disk can be mounted that only this suite sees; tried in a fork."""
    if not sys.platform.startswith("linux"):
        return False
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    status = 1
    with contextlib.suppress(BaseException):
        libc = ctypes.CDLL(None)
        flags = NEW_NAMESPACE if os.geteuid() == 0 else NEW_NAMESPACE | NEW_USER
        place = str(folder).encode()
        tried = (
            libc.unshare(flags),
            libc.mount(b"none", b"/", None, PRIVATE, None),
            libc.mount(b"tmpfs", place, b"tmpfs", 0, b"size=1m"),
        )
        status = 0 if tried == (0, 0, 0) else 1
    os._exit(status)
