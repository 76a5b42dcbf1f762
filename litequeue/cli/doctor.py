"""The command doctor: checks the file and its environment."""

from __future__ import annotations

import argparse
import dataclasses

from litequeue.cli.parser import Commands, as_json, database
from litequeue.cli.terminal import say, say_json
from litequeue.messages import printable
from litequeue.monitor.doctor import examine
from litequeue.monitor.environment import Finding, Level

EXAMPLE = """\
examples:
  litequeue doctor jobs.db         what is wrong with the file, and what to do
  litequeue doctor jobs.db --json  for a program; exit status 1 if something is wrong
"""

SIGNS: dict[Level, str] = {"ok": "✔", "note": "·", "wrong": "✖"}


def add(commands: Commands) -> None:
    """Add the command of this file."""
    doctor = commands.add(
        "doctor", "check the database file and its environment", doctor_command, EXAMPLE
    )
    database(doctor)
    as_json(doctor)


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
