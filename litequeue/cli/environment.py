"""What a command reads from its environment: the variables of --env-file, the database."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterator, MutableMapping

from litequeue.cli.parser import Word
from litequeue.errors import OptionError
from litequeue.messages import show

# Patterns as text: most commands read no file and need no compiled pattern.
#
# After a value: nothing, or a comment.
REST = r"\s*(?:\s#.*)?"
LINE = rf"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=(?P<value>.*?){REST}"
SINGLE = rf"'(?P<text>[^']*)'{REST}"
DOUBLE = rf'"(?P<text>(?:[^"\\]|\\.)*)"{REST}'
ESCAPE = r"\\(.)"
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}


ENDINGS = (".db", ".db3", ".sqlite", ".sqlite2", ".sqlite3", ".sl3", ".s3db")
NO_DATABASE = (
    "is not a database name (those end in .db, .sqlite or .sqlite3, or contain a slash): "
    "give the database first, or set LITEQUEUE_DB"
)


def settle(args: argparse.Namespace) -> None:
    """Set the variables of --env-file that are not set yet; then assign the database, or
    LITEQUEUE_DB, and the arguments after it. Exits if an argument is missing or wrong.
    Raises OptionError."""
    if getattr(args, "env_file", None) is not None:
        apply(read(args.env_file), os.environ)
    words: list[Word] | None = getattr(args, "words", None)
    if words is not None:
        _give_out(args, words, _behind_the_database(args, words))
    elif getattr(args, "database", None) is not None and not names_a_database(args.database):
        args.parser.error(f"{show(args.database)} {NO_DATABASE}")


def names_a_database(word: str) -> bool:
    """Return whether a word names a database. If the database was forgotten, the first word is
    a job, an id or a queue; without this check a file of that name would be created."""
    separators = ("/", os.sep, os.altsep or os.sep)
    return (
        any(each in word for each in separators)
        or word.startswith(("file:", ":memory:"))
        or not word.strip(".")
        or word.lower().endswith(ENDINGS)
        or os.path.isfile(word)
    )


def _behind_the_database(args: argparse.Namespace, words: list[Word]) -> list[str]:
    """Set the database, and return the arguments after it."""
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
    """Assign the arguments from left to right."""
    if len(given) > len(words) and not any(each.many for each in words):
        # One too many: the first was meant as the database.
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
        # The C library reads TZ only once, and local times depend on it.
        time.tzset()


def read(path: str) -> dict[str, str]:
    """Return the variables of a file of lines KEY=VALUE; raises OptionError, which names the
    line number but not the line, which may hold a secret."""
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
    """Yield the variable of a line, if it has one; raises ValueError."""
    text = line.strip()
    if not text or text.startswith("#"):
        return
    found = re.fullmatch(LINE, text, re.ASCII)
    if found is None:
        raise ValueError("a line must be KEY=VALUE, a comment or blank")
    # The whole value: a # between quotes starts no comment.
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
