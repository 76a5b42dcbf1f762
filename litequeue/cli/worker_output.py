"""The lines that a worker prints, one or two for each run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from litequeue.cli.terminal import complain, say, silence
from litequeue.errors import RunLost
from litequeue.log import Traceback
from litequeue.messages import indented, one_line, printable_lines
from litequeue.records import JobRow, State
from litequeue.worker.outcome import Outcome, Verb


class Lines:
    """Prints successes on standard output and failures on standard error."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        """With ``quiet``, only failures are printed; with ``verbose``, each start as well."""
        self._quiet = quiet
        self._verbose = verbose

    def started(self, row: JobRow, max_attempts: int) -> None:
        if self._verbose:
            self.say(f"Job started: {row.id} ({row.name}, attempt {row.attempts}/{max_attempts})")

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None:
        if outcome.exception:
            self.complain(f"✖ Error dispatching job: {row.id} - {outcome.reason}")
        if left is State.DONE:
            self.say(f"✔ Job processed successfully: {row.id}")
        elif left is State.WAITING:
            self.say(f"✔ Batch planned: {row.id}")
        elif left is State.CANCELLED:
            self.say(f"Job cancelled: {row.id}")
        elif left is State.FAILED:
            self.complain(f"Job permanently failed: {row.id}")
        elif outcome.verb is Verb.RELEASE:
            self.say(f"Job released: {row.id} (again in {seconds(outcome.after)})")
        else:
            attempt = f"attempt {row.attempts + 1}/{max_attempts}"
            self.complain(f"Retrying job: {row.id} ({attempt} in {seconds(outcome.after)})")

    def lost(self, row: JobRow, error: RunLost) -> None:
        self.complain(f"✖ Run lost: {row.id} - {error}")

    def say(self, text: str) -> None:
        """Print a line on standard output, unless the worker is quiet."""
        if not self._quiet:
            _write(say, one_line(text))

    def complain(self, text: str) -> None:
        """Print a line on standard error."""
        _write(complain, text)


class PlainLine(logging.Formatter):
    """Formats a log record as its message only: one line, unless it has a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, followed by the traceback if there is one."""
        keeps_lines = any(isinstance(each, Traceback) for each in record.args or ())
        message = record.getMessage()
        lines = [printable_lines(message) if keeps_lines else one_line(message)]
        if record.exc_info:
            lines.append(indented(self.formatException(record.exc_info)))
        return "\n".join(lines)


def seconds(value: float) -> str:
    """Format a duration for these lines, such as 10 s or 0.5 s."""
    return f"{round(value, 1):g} s"


def _write(write: Callable[[str], None], text: str) -> None:
    try:
        write(text)
    except OSError:
        # The reader of the pipe is gone; the worker must continue with its jobs.
        silence(sys.stdout if write is say else sys.stderr)
