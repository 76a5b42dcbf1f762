"""Ends a worker's process in time, even if a job has left threads or processes running.

At exit, Python waits for non-daemon threads, for children of multiprocessing and for the
atexit handlers. A worker that has finished gives them some seconds, then ends the process.
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

# No warning about threads and processes that end within this time.
FIRST_WARNING_SECONDS = 0.5
# The time limit for flushing the streams, which a thread may keep locked.
FLUSH_SECONDS = 1.0
# How much later faulthandler ends the process, if the Python thread could not.
WITHOUT_PYTHON_SECONDS = 3.0


def end_within(seconds: float, status: int) -> None:
    """Make this process end within ``seconds``, with the exit status ``status``.

    The next signal to stop ends it at once. Call this in the main thread, as its last step.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: _end(status))
    threading.Thread(
        target=_watch, args=(seconds, status), name="litequeue-ending", daemon=True
    ).start()
    with suppress(Exception):
        # For a thread that never releases the GIL, or an interpreter that is shutting down.
        faulthandler.dump_traceback_later(seconds + WITHOUT_PYTHON_SECONDS, exit=True)
    _with_time_limit(_flush)


def _watch(seconds: float, status: int) -> None:
    block_signals()
    first = min(seconds, FIRST_WARNING_SECONDS)
    time.sleep(first)
    left = _left_running()
    if left:
        words = "All work is done, but a job left these running; they are ended in %g s: %s"
        _with_time_limit(lambda: logger.warning(words, seconds - first, ", ".join(left)))
    time.sleep(seconds - first)
    if not left:
        words = "The handlers of atexit did not end within %g s; this process ends now"
        _with_time_limit(lambda: logger.warning(words, seconds))
    _end(status)


def _left_running() -> list[str]:
    """Return the names of the threads and processes that Python would wait for."""
    own = (threading.main_thread(), threading.current_thread())
    left = [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if not thread.daemon and thread not in own
    ]
    return left + [f"process {child.pid} ({child.name!r})" for child in _children()]


def _children() -> list[BaseProcess]:
    """Return the children of multiprocessing; none if it was never imported."""
    children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    with suppress(Exception):
        return list(children())
    return []


def _end(status: int) -> None:
    for child in _children():
        with suppress(Exception):
            child.kill()
    _with_time_limit(_flush)
    os._exit(status)


def _with_time_limit(action: Callable[[], None]) -> None:
    """Run ``action`` in another thread, and wait at most FLUSH_SECONDS for it."""
    thread = threading.Thread(target=action, daemon=True)
    with suppress(RuntimeError):  # no thread can start while the interpreter shuts down
        thread.start()
        thread.join(FLUSH_SECONDS)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    for handler in logging.getLogger().handlers:
        with suppress(Exception):
            handler.flush()
