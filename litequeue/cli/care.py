"""The commands that check and copy the file: doctor and backup."""

from __future__ import annotations

import argparse
import dataclasses
import os

from litequeue.cli.parser import Commands, add_word, as_json, database
from litequeue.cli.terminal import say, say_json
from litequeue.messages import printable
from litequeue.monitor.doctor import examine
from litequeue.monitor.environment import Finding, Level, size
from litequeue.queue import Queue

DOCTOR_EXAMPLE = """\
examples:
  litequeue doctor jobs.db         what is wrong with the file, and what to do
  litequeue doctor jobs.db --json  for a program; exit status 1 if something is wrong
"""

BACKUP_EXAMPLE = """\
examples:
  litequeue backup jobs.db jobs-backup.db         a copy, while workers go on
  litequeue backup jobs.db "backup/$(date +%F)"   from cron, one a day
"""

SIGNS: dict[Level, str] = {"ok": "✔", "note": "·", "wrong": "✖"}


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    doctor = commands.add(
        "doctor", "check the database file and its environment", doctor_command, DOCTOR_EXAMPLE
    )
    database(doctor)
    as_json(doctor)

    backup = commands.add(
        "backup", "copy the database while workers run", backup_command, BACKUP_EXAMPLE
    )
    database(backup)
    add_word(backup, "file", metavar="FILE", help="the copy to write; it must not exist yet")
    as_json(backup)


def doctor_command(args: argparse.Namespace) -> int:
    """Print each finding as it is made; return 1 if something is wrong."""
    findings = []
    for finding in examine(args.database):
        findings.append(finding)
        if not args.json:
            _say(finding)
    sound = all(finding.level != "wrong" for finding in findings)
    if args.json:
        say_json({"sound": sound, "findings": [dataclasses.asdict(each) for each in findings]})
    return 0 if sound else 1


def _say(finding: Finding) -> None:
    say(f"{SIGNS[finding.level]} {finding.examined}: {printable(finding.sentence)}")
    if finding.remedy:
        say(f"    {printable(finding.remedy)}")


def backup_command(args: argparse.Namespace) -> int:
    """Copy the queue to a new file, and print where it is and how large."""
    with Queue(args.database, create=False) as queue:
        queue.backup(args.file)
    path, count = os.path.abspath(args.file), os.path.getsize(args.file)
    if args.json:
        say_json({"path": path, "bytes": count})
    else:
        say(f"✔ {path} ({size(count)})")
    return 0
