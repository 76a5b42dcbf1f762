"""The logger of the library, whose records are one line each: a name or a message that came
from outside must not move a terminal's cursor, nor forge a line of the log."""

from __future__ import annotations

import logging

from litequeue.messages import indented, one_line


class Traceback(str):
    """A text of several lines that are meant to be."""


class OneLine(logging.Filter):
    """Makes texts among the arguments of a record printable, and of a bounded length."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always to be logged."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_harmless, record.args))
        return True


def _harmless(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return Traceback(indented(value)) if isinstance(value, Traceback) else one_line(value)


logger = logging.getLogger("litequeue")
logger.addFilter(OneLine())
