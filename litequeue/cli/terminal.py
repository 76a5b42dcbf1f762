"""Writing for people and for pipes: flushed at once, whatever the terminal can print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from litequeue.messages import indented, one_line, printable, printable_lines

# What a terminal without the signs sees in their place.
PLAIN = str.maketrans({"✔": "OK", "✖": "x", "…": "...", "·": "-", "—": "-"})


def say(text: str) -> None:
    """Write a line to standard output: one, whatever is in the text."""
    _write(sys.stdout, printable(text))


def say_lines(text: str) -> None:
    """Write a text of several lines to standard output."""
    _write(sys.stdout, printable_lines(text))


def complain(text: str) -> None:
    """Write a line of a bounded length to standard error."""
    _write(sys.stderr, one_line(text))


def complain_lines(text: str) -> None:
    """Write a traceback to standard error, below the line that says of what."""
    _write(sys.stderr, indented(text))


def say_json(value: object) -> None:
    """Write a value as indented JSON to standard output."""
    _write(sys.stdout, json.dumps(value, indent=2, ensure_ascii=False))


def say_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write rows under their heads, numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(heads))]
    for line in (list(heads), *cells):
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        say("  ".join(padded).rstrip())


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        # Python has none where the shell has closed it.
        return
    line = text + "\n"
    try:
        line.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        # An ASCII terminal, or a lone surrogate in somebody's message.
        encoding = stream.encoding or "ascii"
        line = line.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(line)
    stream.flush()


def silence(stream: TextIO) -> None:
    """Send what is still to come nowhere: the reader of a pipe has gone, and Python
    would complain of it once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
