"""Output for terminals and pipes: flushed at once, in any encoding."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from litequeue.messages import indented, one_line, printable, printable_lines

# Replacements for a terminal that cannot print these characters.
PLAIN = str.maketrans({"✔": "OK", "✖": "x", "…": "...", "·": "-", "—": "-"})


def say(text: str) -> None:
    """Write one line to standard output; line breaks in the text are escaped."""
    _write(sys.stdout, printable(text))


def say_lines(text: str) -> None:
    """Write a text of several lines to standard output."""
    _write(sys.stdout, printable_lines(text))


def complain(text: str) -> None:
    """Write a line of a bounded length to standard error."""
    _write(sys.stderr, one_line(text))


def complain_lines(text: str) -> None:
    """Write an indented traceback to standard error."""
    _write(sys.stderr, indented(text))


def say_json(value: object) -> None:
    """Write a value as indented JSON to standard output."""
    _write(sys.stdout, json.dumps(value, indent=2, ensure_ascii=False))


def answer(args: argparse.Namespace, sentence: str, values: dict[str, object]) -> int:
    """Write the values if ``--json`` was given, else the sentence. If ``changed`` is false, the
    sentence goes to standard error and the exit status, which is returned, is 1."""
    changed = bool(values.get("changed", True))
    if args.json:
        say_json(values)
    else:
        (say if changed else complain)(sentence)
    return 0 if changed else 1


def say_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table; columns of numbers are right-aligned."""
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
        # The shell has closed the stream (>&-).
        return
    line = text + "\n"
    try:
        line.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        # An ASCII terminal, or a lone surrogate in the text.
        encoding = stream.encoding or "ascii"
        line = line.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(line)
    stream.flush()


def silence(stream: TextIO) -> None:
    """Discard further output: the reader of the pipe is gone, and Python would raise again
    when it flushes at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
