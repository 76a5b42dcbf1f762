"""A misspelt command, option, queue or name is told the nearest one that there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Capture, complaint, litequeue

from litequeue import Queue

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LITEQUEUE_DB", raising=False)
    with Queue("jobs.db") as queue:
        queue.push("send-mail", queue="emails")
        queue.pause("images")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("psuh jobs.db", "there is no command 'psuh' (did you mean push?)"),
        ("Status jobs.db", "there is no command 'Status' (did you mean status?)"),
        ("frobnicate", "there is no command 'frobnicate'; see"),
        ("push jobs.db send-mail --qeue emails", "--qeue (did you mean --queue?)"),
        (
            "push jobs.db send-mail --max-attemps=5",
            "--max-attemps=5 (did you mean --max-attempts?)",
        ),
        ("retry jobs.db --stat failed", "--stat (did you mean --state?)"),
        ("list jobs.db --frobnicate", "unrecognized arguments: --frobnicate; see"),
        ("status jobs.db more", "unrecognized arguments: more; see"),
        ("list jobs.db --state faild", "(did you mean failed?)"),
        ("push jobs.db send-mail --on-failure kep", "(did you mean keep?)"),
        (
            "retry jobs.db --queue email",
            "No job matches that retry can take (did you mean emails?)",
        ),
        ("forget jobs.db --name send-mial", "can take (did you mean send-mail?)"),
        ("resume jobs.db image", "Queue image was not paused (did you mean images?)"),
    ],
)
def test_what_is_misspelt_is_told_the_nearest(
    here: Path, capsys: Capture, words: str, told: str
) -> None:
    assert litequeue(*words.split()) in (1, 2)
    assert told in complaint(capsys)


def test_a_list_of_nothing_says_what_was_meant(here: Path, capsys: Capture) -> None:
    for filters, told in (
        (("--queue", "emial"), "No job matches (did you mean emails?).\n"),
        (("--queue", "reports"), "No job matches.\n"),
        (("--queue", "images"), "No job matches.\n"),
        (("--name", "sendmial"), "No job matches (did you mean send-mail?).\n"),
        (("--name", "SendMail", "--state", "done"), "No job matches.\n"),
    ):
        assert litequeue("list", "jobs.db", *filters) == 0
        assert capsys.readouterr() == (told, "")


def test_a_queue_without_jobs_can_be_paused_with_a_remark(here: Path, capsys: Capture) -> None:
    assert litequeue("pause", "jobs.db", "emials") == 0
    remark = "Queue emials has no jobs (did you mean emails?).\n"
    assert capsys.readouterr() == ("Paused queue emials.\n", remark)
    assert litequeue("pause", "jobs.db", "reports") == 0
    assert capsys.readouterr() == ("Paused queue reports.\n", "")


def test_a_huge_word_is_cut(here: Path, capsys: Capture) -> None:
    for words in (["x" * 10**5], ["list", "jobs.db", "--" + "x" * 10**5], ["show", "x" * 10**5]):
        assert litequeue(*words) == 2
        assert len(complaint(capsys)) < 400


@pytest.mark.parametrize(
    ("queues", "told"),
    [
        ("emials", ["Queue emials has no jobs (did you mean emails?)."]),
        ("default,repots", ["Queue repots has no jobs (did you mean reports?)."]),
        ("emails,reports,default,images,elsewhere", []),
    ],
)
@pytest.mark.parametrize("workers", [(), ("--workers", "3")], ids=["one", "three"])
def test_work_names_a_misspelt_queue_once(
    here: Path, queues: str, told: list[str], workers: tuple[str, ...]
) -> None:
    package = here / "jobs"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from litequeue import Job\n\n\nclass SendReport(Job, queue='reports'):\n"
        "    def handle(self) -> None: ...\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "litequeue",
            "work",
            "jobs.db",
            "--drain",
            "--queue",
            queues,
            *workers,
        ],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LITEQUEUE_QUEUE": "", "LITEQUEUE_JOBS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line for line in done.stderr.splitlines() if "did you mean" in line] == told
