"""The job of this suite: its payload says how it ends, and it journals each of its runs.

Workers import it by name (``--jobs jobs_for_faults``) in a folder that has the journal;
tests import it as a part of the suite.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import NoReturn

from litequeue import Fail, Job, Retry, Snooze, current
from litequeue.engine.prefetch_log import MOST
from litequeue.errors import NoSuchJob
from litequeue.worker.prefetch_size import PrefetchSize

if __package__:
    from .journal import OK, OUT, START, Journal
else:
    from journal import OK, OUT, START, Journal

SPIN_SECONDS = 0.002
GROWTH_BYTES = 64 * 1024 * 1024

journal = Journal(os.environ.get("FAULTS_JOURNAL", "journal"))
hoard: list[bytearray] = []
connections: list[sqlite3.Connection] = []


# The modes of the suite: its workers believe that all jobs are short, and fetch as many
# as they can at once; or they fetch each by itself; or they measure, as others do; or they run
# four at once.
PREFETCHING, ALONE, MEASURED, THREADS = "prefetching", "alone", "measured", "threads"
MODE = os.environ.get("FAULTS_MODE", PREFETCHING)
PREFETCH = {PREFETCHING: MOST, ALONE: 1, MEASURED: MOST, THREADS: MOST}[MODE]


def believe_all_jobs_short() -> None:
    """Have the workers of this process fetch as many jobs at once as they can, from their
    first fetch on, and whatever they measure."""
    measured = PrefetchSize.__init__

    def sure(prefetch_size: PrefetchSize, most: int) -> None:
        measured(prefetch_size, most)
        prefetch_size._next = prefetch_size._most

    PrefetchSize.__init__ = sure  # type: ignore[assignment, method-assign]
    PrefetchSize.fetched = lambda prefetch_size, count, asked: None  # type: ignore[method-assign]
    PrefetchSize.fits = lambda prefetch_size: lambda name: True  # type: ignore[method-assign]


# A part of the suite is imported by pytest, which has workers that are to measure.
if not __package__ and MODE == PREFETCHING:
    believe_all_jobs_short()


class Scripted(Job, name="scripted", max_attempts=3, backoff=0):
    """Ends its n-th run by the n-th of ``endings``; the last one repeats. One that is
    several words, as ``watch+raise``, does them in turn."""

    endings: list[str] = field(default_factory=lambda: ["ok"])
    seconds: float = 0.0

    def handle(self) -> object:
        ending = _ending(self.endings)
        with journaled():
            time.sleep(self.seconds)
            return [ENDINGS[word]() for word in ending.split("+")][-1]


class Swift(Scripted, name="swift", max_attempts=3, backoff=0):
    """The same under a name of its own, for jobs that are known to be short."""


class ScriptedAsync(Job, name="scripted-async", max_attempts=3, backoff=0):
    """The same for ``async def``; it knows how to return and how to hang."""

    endings: list[str] = field(default_factory=lambda: ["ok"])

    async def handle(self) -> str:
        ending = _ending(self.endings)
        with journaled():
            while ending == "hang":
                await asyncio.sleep(SPIN_SECONDS)
            return ending


@contextmanager
def journaled() -> Iterator[None]:
    run = current()
    journal.note(run.id, run.attempt, START)
    try:
        yield
    except BaseException:
        journal.note(run.id, run.attempt, OUT)
        raise
    journal.note(run.id, run.attempt, OK)


def _ending(endings: list[str]) -> str:
    if len(endings) == 1:
        return endings[0]
    before = len(journal.of(current().id, START))
    return endings[min(before, len(endings) - 1)]


def ok() -> str:
    return "ok"


def big() -> str:
    return "x" * 2_000_000


def page() -> str:
    """Return what fits into a prefetch log, and not into a page of the database."""
    return "x" * 2500


def raise_() -> NoReturn:
    raise ValueError("as the script says")


def retry() -> NoReturn:
    raise Retry("once more", after=0)


def snooze() -> NoReturn:
    raise Snooze("later", after=0)


def fail() -> NoReturn:
    raise Fail("no more of this")


def system_exit() -> NoReturn:
    raise SystemExit(3)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def exit_() -> NoReturn:
    os._exit(3)


def exit_0() -> NoReturn:
    os._exit(0)


def exit_2() -> NoReturn:
    os._exit(2)


def exit_90() -> NoReturn:
    os._exit(90)


def system_exit_2() -> NoReturn:
    sys.exit(2)


def small_files_only() -> None:
    """Let the whole process write into no file that is larger than what it says."""
    import resource  # there is none on Windows

    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    """Stop the whole process, until somebody lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def term() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def grow() -> None:
    """Take memory and keep it after the run."""
    hoard.append(bytearray(b"x" * GROWTH_BYTES))


def close_all() -> None:
    """Close whatever the process has open, as daemons do."""
    os.closerange(3, 4096)


def close_all_and_fail() -> NoReturn:
    close_all()
    raise ValueError("after all files were closed")


def stop_watchdog() -> None:
    """Use the one timer of faulthandler's for itself, and stop it."""
    faulthandler.dump_traceback_later(60)
    faulthandler.cancel_dump_traceback_later()


def stop_alarm() -> None:
    """Use the alarm clock of the process for itself, and stop it."""
    signal.alarm(60)
    signal.alarm(0)


def hang() -> NoReturn:
    while True:
        time.sleep(SPIN_SECONDS)


def gate() -> None:
    """Go on when a file ``gate-ID`` is there."""
    while not _gate().exists():
        time.sleep(SPIN_SECONDS)


def hold() -> None:
    """Like gate, and let no other thread of the process run meanwhile."""
    libc = ctypes.PyDLL(None)
    sys.setswitchinterval(1000)
    while libc.access(str(_gate()).encode(), 0):
        libc.usleep(int(SPIN_SECONDS * 1e6))
    sys.setswitchinterval(0.005)


def swallow() -> None:
    """Like gate, and deaf to whatever is raised in it."""
    while True:
        try:
            return gate()
        except BaseException:
            current_note("swallowed")


def freeze() -> int:
    """Stay inside one C call that holds the GIL and looks at no signal."""
    return sum(range(10**14))


def watch() -> None:
    """Go on when the run is cancelled or lost."""
    while not current().cancelled:
        time.sleep(SPIN_SECONDS)
    current_note("cancelled")


def effect() -> None:
    """Write a row of the application's own, and be complete, in one commit."""
    run = current()
    with run.transaction() as connection:
        connection.execute("insert into effects values (?)", (run.id,))


def effect_and_push() -> None:
    run = current()
    with run.transaction() as connection:
        connection.execute("insert into effects values (?)", (run.id,))
        run.push(Scripted())


def take() -> list[object]:
    """Take the results of the jobs before this one; each must have one."""
    results = current().results
    if not results or None in results:
        raise Fail(f"a result was lost: {results}")
    return results


def reclaim() -> None:
    """Reclaim what the workers have claimed, as the commands do."""
    current().pushes_to.store.reclaimer.reclaim()


def refused() -> None:
    """Ask for what cannot be done."""
    try:
        current().pushes_to.cancel(10**6)
    except NoSuchJob:
        return
    raise AssertionError("it was done")


def wait_for_last() -> None:
    """Wait until the job with the number before is over."""
    run = current()
    run.pushes_to.wait(run.id - 1, timeout=20)


def push_unique() -> int:
    return current().push(Scripted(), unique="the key")


def fork() -> None:
    """Fork; the child pushes a job of its own, and ends without any clean-up."""
    child = os.fork()
    if not child:
        os._exit(0 if current().push(Scripted()) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def fork_and_return() -> None:
    """Fork, and have the child go back to where the job was called from."""
    if os.fork():
        os.wait()


def fork_and_gate() -> None:
    """Fork a child that outlives its parent, and then be like gate."""
    if not os.fork():
        current_note("forked")
        sys.stdin.close()
        gate()
        os._exit(0)
    gate()


def leave_thread() -> None:
    """Leave a thread behind that Python waits for, and that never ends."""
    threading.Thread(target=hang, name="left-behind").start()


def leave_child() -> None:
    """The same with a process."""
    run, fork = current(), multiprocessing.get_context("fork")
    fork.Process(target=_note_and_hang, args=(run.id, run.attempt), name="left-child").start()


def _note_and_hang(id: int, attempt: int) -> NoReturn:
    journal.note(id, attempt, "forked")
    hang()


def leave_handler() -> None:
    """The same with a handler that runs at the end of the process."""
    atexit.register(hang)


def leave_stop() -> None:
    """Have the process stand still at its end."""
    atexit.register(stop)


def leave_transaction() -> None:
    """Leave a write transaction open on the queue's own file."""
    connection = sqlite3.connect(current().pushes_to.path, timeout=20)
    connection.execute("insert into effects values (?)", (current().id,))
    connections.append(connection)


def current_note(name: str) -> None:
    run = current()
    journal.note(run.id, run.attempt, name)


def _gate() -> Path:
    return Path(f"gate-{current().id}")


ENDINGS: dict[str, Callable[[], object]] = {
    "ok": ok,
    "big": big,
    "page": page,
    "raise": raise_,
    "retry": retry,
    "snooze": snooze,
    "fail": fail,
    "system_exit": system_exit,
    "interrupt": interrupt,
    "exit": exit_,
    "exit_0": exit_0,
    "exit_2": exit_2,
    "exit_90": exit_90,
    "system_exit_2": system_exit_2,
    "small_files_only": small_files_only,
    "kill": kill,
    "stop": stop,
    "term": term,
    "grow": grow,
    "close_all": close_all,
    "close_all_and_fail": close_all_and_fail,
    "stop_watchdog": stop_watchdog,
    "stop_alarm": stop_alarm,
    "hang": hang,
    "gate": gate,
    "swallow": swallow,
    "freeze": freeze,
    "watch": watch,
    "effect": effect,
    "effect_and_push": effect_and_push,
    "hold": hold,
    "take": take,
    "refused": refused,
    "wait_for_last": wait_for_last,
    "push_unique": push_unique,
    "recall": reclaim,
    "leave_transaction": leave_transaction,
    "leave_thread": leave_thread,
    "leave_child": leave_child,
    "leave_handler": leave_handler,
    "leave_stop": leave_stop,
    "fork": fork,
    "fork_and_return": fork_and_return,
    "fork_and_gate": fork_and_gate,
}
