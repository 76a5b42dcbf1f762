"""What the commands share of argparse: how one is added, and what its words may be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from litequeue.errors import WhenError
from litequeue.memory import parse_bytes
from litequeue.messages import show
from litequeue.version import VERSION
from litequeue.when import length

Run = Callable[[argparse.Namespace], int]


# argparse makes one to check each argument that is added. Asked for no width, it would load
# shutil and the compressors, 0.6 MB, to see how wide the terminal is.
CHECKS = partial(argparse.HelpFormatter, width=80)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words of a command."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def format_help(self) -> str:
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def _match_arguments_partial(
        self, actions: Sequence[argparse.Action], arg_strings_pattern: str
    ) -> list[int]:
        # Before Python 3.12.7, a word that may be missing is taken to be missing at the
        # first option, and is then refused where it stands behind that.
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
            epilog="litequeue COMMAND --help tells more, with examples.",
            formatter_class=CHECKS,
            allow_abbrev=False,
        )
        self.parser.add_argument("--version", action="version", version=f"litequeue {VERSION}")
        self._subparsers = self.parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True
        )

    def add(self, name: str, summary: str, run: Run, examples: str) -> argparse.ArgumentParser:
        """Add a command that ``run`` carries out; its status is the exit status."""
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=examples,
            formatter_class=CHECKS,
            allow_abbrev=False,
        )
        parser.set_defaults(run=run, ends_within=None)
        return parser


def database(parser: argparse.ArgumentParser) -> None:
    """Let a command take the path of the database first."""
    parser.add_argument("database", metavar="DB", help="the database file, such as jobs.db")


def usual_database(parser: argparse.ArgumentParser) -> None:
    """Let a command whose only word is the path of the database find it in LITEQUEUE_DB."""
    parser.add_argument(
        "database",
        metavar="DB",
        nargs="?",
        help="the database file, such as jobs.db (default: LITEQUEUE_DB)",
    )
    parser.set_defaults(may_lack_database=parser)
    environment_file(parser)


def environment_file(parser: argparse.ArgumentParser) -> None:
    """Let a command take variables from a file."""
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="lines KEY=VALUE for the environment; what is set there already stays",
    )


def as_json(parser: argparse.ArgumentParser) -> None:
    """Let a command print its answer as JSON."""
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
    """A length of time: seconds, or text such as 30s, 15m, 7d."""
    try:
        found = length(text)
    except WhenError:
        found = -1.0
    if found < 0:
        raise argparse.ArgumentTypeError(
            f"{show(text)} is not a length of time; write seconds, or 30s, 15m, 2h, 7d"
        )
    return found
