"""The command backup: copies the database while workers run."""

from __future__ import annotations

import argparse
import os

from litequeue.cli.parser import Commands, add_word, as_json, database
from litequeue.cli.terminal import answer
from litequeue.monitor.environment import size
from litequeue.queue import Queue

EXAMPLE = """\
examples:
  litequeue backup jobs.db jobs-backup.db         a copy; workers continue
  litequeue backup jobs.db "backup/$(date +%F)"   from cron, one a day
"""


def add(commands: Commands) -> None:
    """Add the command of this file."""
    backup = commands.add("backup", "copy the database while workers run", backup_command, EXAMPLE)
    database(backup)
    add_word(backup, "file", metavar="FILE", help="the copy to write; it must not exist yet")
    as_json(backup)


def backup_command(args: argparse.Namespace) -> int:
    """Copy the queue to a new file, and print where it is and how large."""
    with Queue(args.database, create=False) as queue:
        queue.backup(args.file)
    path, count = os.path.abspath(args.file), os.path.getsize(args.file)
    return answer(args, f"✔ {path} ({size(count)})", {"path": path, "bytes": count})
