"""Argument parsing that the commands share: adding one, common options, types of values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypedDict

from litequeue.durations import EXAMPLES, remark_on, seconds_of
from litequeue.messages import SHOWN_CHARACTERS, did_you_mean, one_line, show
from litequeue.records import State
from litequeue.version import VERSION
from litequeue.worker.memory import parse_bytes

Run = Callable[[argparse.Namespace], int]


# argparse makes a formatter to check each argument. Without a width it would import shutil
# and the compressors, 0.6 MB, to measure the terminal.
CHECKS = partial(argparse.HelpFormatter, width=80)


class Word(NamedTuple):
    """An argument after the database. The database may be omitted, so arguments are assigned
    and converted only after the environment has been read."""

    dest: str
    metavar: str
    type: Callable[[str], object]
    required: bool
    many: bool
    default: object


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog}: {message}; see {self.prog} --help") + "\n")

    def format_help(self) -> str:
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        text = super().format_help()
        for word in self.get_default("words") or ():
            # To argparse all of them are optional, since the first may be the database.
            if word.required:
                text = text.replace(f"[{word.metavar}]", word.metavar, 1)
        return text

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        meant = did_you_mean(value, action.choices)
        if action.dest == argparse.SUPPRESS or action.nargs == argparse.PARSER:
            self.error(f"there is no command {show(value)}{meant}")
        names = ", ".join(action.choices)
        raise argparse.ArgumentError(
            action, f"invalid choice: {show(value)} is not one of {names}{meant}"
        )

    def _match_arguments_partial(
        self, actions: Sequence[argparse.Action], arg_strings_pattern: str
    ) -> list[int]:
        # Before Python 3.12.7, argparse takes an optional argument as missing at the first
        # option, and then refuses it after that option.
        counts = super()._match_arguments_partial(actions, arg_strings_pattern)
        while counts and counts[-1] == 0 and "O" in arg_strings_pattern:
            counts.pop()
        return counts


class Commands:
    """The commands of litequeue, in the order in which help lists them."""

    def __init__(self) -> None:
        self.parser = Parser(
            prog="litequeue",
            description="Background jobs on one SQLite file.",
            epilog="litequeue COMMAND --help shows its options and examples.",
            formatter_class=CHECKS,
            allow_abbrev=False,
        )
        self.parser.add_argument("--version", action="version", version=f"litequeue {VERSION}")
        self._subparsers = self.parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True
        )

    def add(self, name: str, summary: str, run: Run, examples: str) -> argparse.ArgumentParser:
        """Add a command; ``run`` executes it and returns the exit status."""
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=examples,
            formatter_class=CHECKS,
            allow_abbrev=False,
        )
        parser.set_defaults(run=run, parser=parser, ends_within=None)
        return parser

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command; exits the process if they are wrong."""
        args, unknown = self.parser.parse_known_args(words)
        if unknown:
            parser: argparse.ArgumentParser = args.parser
            option = next((each for each in unknown if each.startswith("-")), "")
            known = [name for action in parser._actions for name in action.option_strings]
            meant = did_you_mean(option.partition("=")[0], known)
            parser.error(f"unrecognized arguments: {' '.join(map(_shortened, unknown))}{meant}")
        return args


def _shortened(word: str) -> str:
    return word if len(word) <= SHOWN_CHARACTERS and word.isprintable() else show(word)


def database(parser: argparse.ArgumentParser) -> None:
    """Add the path of the database as first argument; the default is LITEQUEUE_DB."""
    parser.add_argument(
        "database",
        metavar="DB",
        nargs="?",
        help="the database file, such as jobs.db (default: LITEQUEUE_DB)",
    )
    parser.set_defaults(words=[])
    environment_file(parser)


def add_word(
    parser: argparse.ArgumentParser,
    dest: str,
    *,
    metavar: str,
    help: str,
    type: Callable[[str], object] = str,
    required: bool = True,
    many: bool = False,
    default: object = None,
) -> None:
    """Add an argument after the database; with ``many`` it takes all remaining ones."""
    if many:
        parser.add_argument(dest, metavar=metavar, nargs="*", default=[], help=help)
    else:
        parser.add_argument(dest, metavar=metavar, nargs="?", help=help)
    made = Word(dest, metavar, type, required, many, default)
    parser.set_defaults(words=[*parser.get_default("words"), made])


def environment_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--env-file``."""
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="read environment variables from lines KEY=VALUE; variables already set are kept",
    )


def jobs_packages(
    parser: argparse.ArgumentParser,
    purpose: str = "the package with the jobs; may be repeated",
    default: str = "LITEQUEUE_JOBS, or jobs, or app.jobs",
) -> None:
    """Add ``--jobs``, which may be given several times."""
    parser.add_argument(
        "--jobs",
        metavar="PACKAGE",
        action="append",
        default=[],
        help=f"{purpose} (default: {default})",
    )


class Filters(TypedDict):
    """The conditions of ``--state``, ``--queue`` and ``--name``, by the names that Queue uses."""

    state: str | None
    queue: str | None
    name: str | None


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose jobs by state, queue and name."""
    states = ", ".join(state.value for state in State)
    parser.add_argument("--state", metavar="STATE", help=f"only jobs in this state: {states}")
    parser.add_argument("--queue", metavar="QUEUE", type=name, help="only jobs of this queue")
    parser.add_argument(
        "--name", metavar="NAME", type=name, help="only jobs of this name, in any spelling"
    )


def filters(args: argparse.Namespace) -> Filters:
    """Return the conditions that were given."""
    return Filters(state=args.state, queue=args.queue, name=args.name)


def name(text: str) -> str:
    """A name that the database can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # The shell passed bytes that are not UTF-8, and SQLite stores nothing else.
        raise argparse.ArgumentTypeError(f"{text!a} is not valid UTF-8") from error
    return text


def as_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{show(text)} is not a whole number of at least 1")
    return number


def size(text: str) -> int:
    """A number of bytes: plain, or as 256M, 1G."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{show(text)} is not a size; write bytes, or 512K, 256M, 1G"
        ) from error


def seconds(text: str) -> float:
    """Return a duration in seconds; an argparse type."""
    try:
        return seconds_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{show(text)} is not a duration; write seconds or {EXAMPLES}{remark_on(text)}"
        ) from None
