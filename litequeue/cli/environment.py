"""What a command takes from its environment: the variables of --env-file, and the database."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterator, MutableMapping

from litequeue.cli.parser import Word
from litequeue.errors import OptionError
from litequeue.messages import show

# Patterns as text: most commands are given no file, and need none of them compiled.
#
# Whatever stands behind a value: nothing, or a comment.
REST = r"\s*(?:\s#.*)?"
LINE = rf"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=(?P<value>.*?){REST}"
SINGLE = rf"'(?P<text>[^']*)'{REST}"
DOUBLE = rf'"(?P<text>(?:[^"\\]|\\.)*)"{REST}'
ESCAPE = r"\\(.)"
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}


ENDINGS = (".db", ".db3", ".sqlite", ".sqlite2", ".sqlite3", ".sl3", ".s3db")
NO_DATABASE = (
    "is no name of a database, which ends in .db, .sqlite or .sqlite3, or has a slash (./NAME): "
    "give the database first, or set LITEQUEUE_DB"
)


def settle(args: argparse.Namespace) -> None:
    """Set what --env-file says and the environment does not, and tell the database, which
    may be the one that LITEQUEUE_DB names, from the words behind it; ends the command where
    one of them is missing or wrong. Raises OptionError."""
    if getattr(args, "env_file", None) is not None:
        apply(read(args.env_file), os.environ)
    words: list[Word] | None = getattr(args, "words", None)
    if words is not None:
        _give_out(args, words, _behind_the_database(args, words))
    elif getattr(args, "database", None) is not None and not names_a_database(args.database):
        args.parser.error(f"{show(args.database)} {NO_DATABASE}")


def names_a_database(word: str) -> bool:
    """Whether a word is the database, and not a job, an id or a queue that stands where the
    database was forgotten: a file of that name would be made, and nobody would look there."""
    separators = ("/", os.sep, os.altsep or os.sep)
    return (
        any(each in word for each in separators)
        or word.startswith(("file:", ":memory:"))
        or not word.strip(".")
        or word.lower().endswith(ENDINGS)
        or os.path.isfile(word)
    )


def _behind_the_database(args: argparse.Namespace, words: list[Word]) -> list[str]:
    """Name the database, and return the words that the command was given beside it."""
    given = [] if args.database is None else [str(args.database)]
    for each in words:
        value = getattr(args, each.dest)
        given += value if each.many else [] if value is None else [value]
    if given and names_a_database(given[0]):
        args.database = given.pop(0)
        return given
    args.database = os.environ.get("LITEQUEUE_DB")
    if not args.database:
        missing = "no database is named: give its path, such as jobs.db, or set LITEQUEUE_DB"
        args.parser.error(f"{show(given[0])} {NO_DATABASE}" if given else missing)
    return given


def _give_out(args: argparse.Namespace, words: list[Word], given: list[str]) -> None:
    """Give each word of a command its place, from the left."""
    if len(given) > len(words) and not any(each.many for each in words):
        # argparse has a place for the database too: the first of them was to be it.
        args.parser.error(f"{show(given[0])} {NO_DATABASE}")
    for each in words:
        taken = given if each.many else given[:1]
        given = given[len(taken) :]
        if each.required and not taken:
            args.parser.error(f"the following arguments are required: {each.metavar}")
        try:
            values = [each.type(text) for text in taken]
        except argparse.ArgumentTypeError as error:
            args.parser.error(f"argument {each.metavar}: {error}")
        value = values[0] if values else each.default
        setattr(args, each.dest, values if each.many else value)


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
