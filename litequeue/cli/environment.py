"""What a command takes from its environment: the variables of --env-file, and the database."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterator, MutableMapping

from litequeue.errors import OptionError

# Patterns as text: most commands are given no file, and need none of them compiled.
#
# Whatever stands behind a value: nothing, or a comment.
REST = r"\s*(?:\s#.*)?"
LINE = rf"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=(?P<value>.*?){REST}"
SINGLE = rf"'(?P<text>[^']*)'{REST}"
DOUBLE = rf'"(?P<text>(?:[^"\\]|\\.)*)"{REST}'
ESCAPE = r"\\(.)"
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def settle(args: argparse.Namespace) -> None:
    """Set what --env-file says and the environment does not, and name the database that
    LITEQUEUE_DB means; ends the command where none is named. Raises OptionError."""
    if getattr(args, "env_file", None) is not None:
        apply(read(args.env_file), os.environ)
    if getattr(args, "may_lack_database", None) is not None and args.database is None:
        args.database = os.environ.get("LITEQUEUE_DB") or args.may_lack_database.error(
            "no database is named: give its path, such as jobs.db, or set LITEQUEUE_DB"
        )


def apply(variables: dict[str, str], environment: MutableMapping[str, str]) -> None:
    """Set the variables that are not set yet."""
    for name, value in variables.items():
        environment.setdefault(name, value)
    if "TZ" in variables and hasattr(time, "tzset"):
        # Of the variables that are read only once, the one that times depend on.
        time.tzset()


def read(path: str) -> dict[str, str]:
    """The variables of a file of lines KEY=VALUE; raises OptionError, which names the
    line, but not what is in it: that may be a secret."""
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(owner=path, problem=f"cannot be read: {reason}") from error
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            variables.update(parsed(line.decode("utf-8-sig" if number == 1 else "utf-8")))
        except ValueError as error:
            problem = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            owner = f"{path}, line {number}"
            raise OptionError(owner=owner, problem=problem) from error
    return variables


def parsed(line: str) -> Iterator[tuple[str, str]]:
    """The variable of one line, if it has one; raises ValueError."""
    text = line.strip()
    if not text or text.startswith("#"):
        return
    found = re.fullmatch(LINE, text, re.ASCII)
    if found is None:
        raise ValueError("a line must be KEY=VALUE, a comment or blank")
    # Whole, as the comment sign may stand between quotes.
    value = text[found.start("value") :].lstrip()
    if "\0" in value:
        raise ValueError(f"the value of {found['name']} has a NUL in it")
    if value[:1] not in ("'", '"'):
        yield found["name"], found["value"].strip()
        return
    quoted = re.fullmatch(SINGLE if value[0] == "'" else DOUBLE, value)
    if quoted is None:
        raise ValueError(f"the value of {found['name']} has no closing quote, or more after it")
    plain = quoted["text"]
    yield found["name"], plain if value[0] == "'" else re.sub(ESCAPE, _unescaped, plain)


def _unescaped(found: re.Match[str]) -> str:
    return ESCAPES.get(found[1], found[0])
