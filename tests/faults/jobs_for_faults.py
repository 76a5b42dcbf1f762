"""The job of this suite: its payload says how it ends, and it journals each of its runs.

Workers import it by name (``--jobs jobs_for_faults``) in a folder that has the journal;
tests import it as a part of the suite.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import NoReturn

from litequeue import Fail, Job, Retry, Snooze, current

if __package__:
    from .journal import OK, OUT, START, Journal
else:
    from journal import OK, OUT, START, Journal

STEP_SECONDS = 0.002
GROWTH_BYTES = 64 * 1024 * 1024

journal = Journal(os.environ.get("FAULTS_JOURNAL", "journal"))
hoard: list[bytearray] = []


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


class ScriptedAsync(Job, name="scripted-async", max_attempts=3, backoff=0):
    """The same for ``async def``; it knows how to return and how to hang."""

    endings: list[str] = field(default_factory=lambda: ["ok"])

    async def handle(self) -> str:
        ending = _ending(self.endings)
        with journaled():
            while ending == "hang":
                await asyncio.sleep(STEP_SECONDS)
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


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def grow() -> None:
    """Take memory and keep it after the run."""
    hoard.append(bytearray(b"x" * GROWTH_BYTES))


def hang() -> NoReturn:
    while True:
        time.sleep(STEP_SECONDS)


def gate() -> None:
    """Go on when a file ``gate-ID`` is there."""
    while not _gate().exists():
        time.sleep(STEP_SECONDS)


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
        time.sleep(STEP_SECONDS)
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


def fork() -> None:
    """Fork; the child pushes a job of its own, and ends without any clean-up."""
    child = os.fork()
    if not child:
        os._exit(0 if current().push(Scripted()) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def fork_and_gate() -> None:
    """Fork a child that outlives its parent, and then be like gate."""
    if not os.fork():
        current_note("forked")
        sys.stdin.close()
        gate()
        os._exit(0)
    gate()


def current_note(name: str) -> None:
    run = current()
    journal.note(run.id, run.attempt, name)


def _gate() -> Path:
    return Path(f"gate-{current().id}")


ENDINGS: dict[str, Callable[[], object]] = {
    "ok": ok,
    "big": big,
    "raise": raise_,
    "retry": retry,
    "snooze": snooze,
    "fail": fail,
    "system_exit": system_exit,
    "interrupt": interrupt,
    "exit": exit_,
    "kill": kill,
    "grow": grow,
    "hang": hang,
    "gate": gate,
    "swallow": swallow,
    "freeze": freeze,
    "watch": watch,
    "effect": effect,
    "effect_and_push": effect_and_push,
    "fork": fork,
    "fork_and_gate": fork_and_gate,
}
