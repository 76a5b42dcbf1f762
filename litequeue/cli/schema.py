"""The command schema: prints the tables as SQL, or upgrades a file."""

from __future__ import annotations

import argparse
import os

from litequeue.cli.parser import Commands
from litequeue.cli.terminal import say, say_lines
from litequeue.engine import schema
from litequeue.engine.database import Database

EXAMPLE = """\
examples:
  litequeue schema > schema.sql  the tables as SQL
  litequeue schema jobs.db       create the file, or upgrade its tables
"""


def add(commands: Commands) -> None:
    """Add the command of this file."""
    schemas = commands.add(
        "schema", "print the tables as SQL, or upgrade a file", schema_command,
        EXAMPLE,
    )  # fmt: skip
    schemas.add_argument(
        "database", metavar="DB", nargs="?", help="the file to upgrade or to create"
    )


def schema_command(args: argparse.Namespace) -> int:
    """Print the schema, or upgrade a file."""
    if args.database is None:
        say_lines(schema.sql().rstrip())
        return 0
    missing = not os.path.exists(args.database)
    database = Database(args.database)
    try:
        steps = schema.upgrade(database)
    finally:
        database.close()
    counted = "1 step" if steps == 1 else f"{steps} steps"
    if missing:
        say(f"Made {database.path} ({counted}).")
    elif steps:
        say(f"Brought {database.path} up to date ({counted}).")
    else:
        say(f"{database.path} is up to date (0 steps).")
    return 0
