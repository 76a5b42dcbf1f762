"""A database that a command makes is one whose name may be misspelt: it says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, litequeue

Write = Callable[[Mapping[str, str]], Path]

JOBS = """
from litequeue import job

@job
def greet() -> None: ...
"""


@pytest.fixture
def made(application: Write) -> str:
    """The line that tells of it, in a folder without a database."""
    return f"Made {application({'jobs.py': JOBS}) / 'jobs.db'}: there was no such file.\n"


def test_work_says_that_it_makes_the_database_and_only_then(made: str, capsys: Capture) -> None:
    assert litequeue("work", "jobs.db", "--drain") == 0
    assert capsys.readouterr().out.startswith(f"{made}litequeue works on ")
    assert litequeue("work", "jobs.db", "--drain") == 0
    assert "Made" not in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="--workers needs POSIX")
def test_several_workers_say_it_once(made: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert litequeue("work", "jobs.db", "--drain", "--workers", "2") == 0
    assert capfd.readouterr().out.count(made) == 1


def test_quiet_says_nothing(made: str, capsys: Capture) -> None:
    assert litequeue("work", "jobs.db", "--drain", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_push_says_it_at_a_terminal_and_prints_the_id_alone(
    made: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert litequeue("push", "jobs.db", "greet") == 0
    assert capsys.readouterr() == ("1\n", made)
    assert litequeue("push", "jobs.db", "greet") == 0
    assert capsys.readouterr() == ("2\n", "")


def test_push_says_nothing_to_a_script(made: str, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "greet") == 0
    assert capsys.readouterr() == ("1\n", "")
