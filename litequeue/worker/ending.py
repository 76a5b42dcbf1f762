"""The end of a worker's process, which nothing that a job has left behind can put off.

Python waits at its end for threads that are no daemons, for children of multiprocessing
and for the handlers of atexit. A worker whose work is over gives them some seconds.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from litequeue.log import logger
from litequeue.worker.shutdown import SIGNALS, block_signals

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

# What is about to end by itself needs no word.
FIRST_WARNING_SECONDS = 0.5
# What the flushing of a stream has, which a thread may keep locked.
FLUSH_SECONDS = 1.0
# How much later the process is ended without Python, if the thread that does so could not.
WITHOUT_PYTHON_SECONDS = 3.0


def end_within(seconds: float, status: int) -> None:
    """See to it that this process, which has nothing left to do, ends within so many
    seconds and with this exit status; at once at the next signal to stop. To be called
    in the main thread, right before its end."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: _end(status))
    threading.Thread(
        target=_watch, args=(seconds, status), name="litequeue-ending", daemon=True
    ).start()
    with suppress(Exception):
        # Where a thread does not let any other run, or the interpreter is half gone.
        faulthandler.dump_traceback_later(seconds + WITHOUT_PYTHON_SECONDS, exit=True)
    _briefly(_flush)


def _watch(seconds: float, status: int) -> None:
    block_signals()
    first = min(seconds, FIRST_WARNING_SECONDS)
    time.sleep(first)
    left = _left_running()
    if left:
        words = "The work is over, but this is still running, and is ended in %g s: %s"
        _briefly(lambda: logger.warning(words, seconds - first, ", ".join(left)))
    time.sleep(seconds - first)
    if not left:
        words = "The handlers of atexit did not end within %g s; this process ends now"
        _briefly(lambda: logger.warning(words, seconds))
    _end(status)


def _left_running() -> list[str]:
    """What Python would wait for, by name."""
    own = (threading.main_thread(), threading.current_thread())
    left = [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if not thread.daemon and thread not in own
    ]
    return left + [f"process {child.pid} ({child.name!r})" for child in _children()]


def _children() -> list[BaseProcess]:
    """The children of multiprocessing, if a job has ever imported that."""
    children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    with suppress(Exception):
        return list(children())
    return []


def _end(status: int) -> None:
    for child in _children():
        with suppress(Exception):
            child.kill()
    _briefly(_flush)
    os._exit(status)


def _briefly(action: Callable[[], None]) -> None:
    """Do it in another thread, and go on if that is held up."""
    thread = threading.Thread(target=action, daemon=True)
    with suppress(RuntimeError):  # none can be started when the interpreter is half gone
        thread.start()
        thread.join(FLUSH_SECONDS)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    for handler in logging.getLogger().handlers:
        with suppress(Exception):
            handler.flush()
