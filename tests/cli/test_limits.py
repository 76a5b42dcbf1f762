"""push --expires, --rate-limit and --rate-key, and what the other commands say of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from commands import Capture, complaint, litequeue
from worker_side import edit

from litequeue import Queue, State

JOBS = """
from litequeue import Job

class Call(Job, rate_limit="1/hour", rate_key=lambda call: f"host {call.host}", expires="30m"):
    host: str

    def handle(self): ...
"""


@pytest.fixture(autouse=True)
def _jobs(application: Callable[[Mapping[str, str]], Path]) -> None:
    application({"jobs.py": JOBS})


def pushed(capsys: Capture, *arguments: str) -> int:
    assert litequeue("push", "jobs.db", *arguments) == 0
    return int(capsys.readouterr().out)


def facts(capsys: Capture, id: int) -> dict[str, object]:
    assert litequeue("show", "jobs.db", str(id), "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_flags_are_stored_with_the_job(queue: Queue, capsys: Capture) -> None:
    id = pushed(capsys, "a", "--expires", "1h", "--rate-limit", "100/minute", "--rate-key", "smtp")
    row = queue.get(id)
    assert row.deadline_at == row.created_at + timedelta(hours=1)
    assert (row.rate_key, row.options) == ("smtp", {"rate_limit": "100/minute"})
    shown = facts(capsys, id)
    deadline = datetime.fromisoformat(str(shown["deadline_at"]))
    assert deadline == row.deadline_at
    assert (shown["rate_key"], shown["rate_since"]) == ("smtp", None)
    assert litequeue("show", "jobs.db", str(id)) == 0
    out = capsys.readouterr().out
    assert "rate      smtp, 100/minute\n" in out
    assert f"expires   {deadline.astimezone():%Y-%m-%d %H:%M:%S}\n" in out


def test_the_options_of_the_class_apply_and_the_flags_win(queue: Queue, capsys: Capture) -> None:
    row = queue.get(pushed(capsys, "call", '{"host": "a"}'))
    assert (row.rate_key, row.options) == ("host a", {"rate_limit": "1/hour"})
    assert row.deadline_at == row.created_at + timedelta(minutes=30)
    flags = ("--rate-limit", "5/10s", "--rate-key", "all", "--expires", "2030-01-01 10:00")
    row = queue.get(pushed(capsys, "call", '{"host": "a"}', *flags))
    assert (row.rate_key, row.options) == ("all", {"rate_limit": "5/10s"})
    assert row.deadline_at == datetime(2030, 1, 1, 10).astimezone(timezone.utc)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rate-limit", "100/month"), "rate_limit must be a text such as"),
        (("--rate-key", "smtp"), "rate_key needs a rate_limit"),
        (("--expires", "0"), "expires must be a duration of more than 0"),
        (("--expires", "whenever"), "whenever"),
    ],
)
def test_what_is_no_limit_is_one_line(
    queue: Queue, capsys: Capture, flags: tuple[str, ...], said: str
) -> None:
    assert litequeue("push", "jobs.db", "other", *flags) == 2
    assert said in complaint(capsys)
    assert queue.find() == []


def test_a_drain_ends_when_the_rest_waits_for_its_rate(queue: Queue, capsys: Capture) -> None:
    ids = [pushed(capsys, "call", '{"host": "a"}') for _ in range(3)]
    assert litequeue("work", "jobs.db", "--drain") == 0
    assert litequeue("work", "jobs.db", "--once") == 0
    assert capsys.readouterr().out.count("✔ Job processed successfully: ") == 1
    assert queue.counts() == {"default": {State.SCHEDULED: 2}}
    shown = facts(capsys, ids[1])
    assert shown["state"] == "scheduled"
    assert shown["rate_since"] is not None
    assert shown["attempts"] == 0
    assert shown["why_not_running"] == (
        "its rate limit of 1/hour is reached; its turn comes in 60 min"
    )
    assert litequeue("run", "jobs.db", "--id", str(ids[1])) == 1
    assert "its rate limit of 1/hour is reached" in capsys.readouterr().err
    assert litequeue("retry", "jobs.db", str(ids[1])) == 0
    assert litequeue("work", "jobs.db", "--drain") == 0
    assert queue.get(ids[1]).state is State.SCHEDULED
    assert litequeue("doctor", "jobs.db") == 0


def test_show_says_that_a_job_has_expired(queue: Queue, capsys: Capture) -> None:
    id = pushed(capsys, "call", '{"host": "a"}', "--delay", "1h", "--expires", "10m")
    edit(queue, "update litequeue_jobs set deadline_at = deadline_at - 600000,"
         " created_at = created_at - 600000")  # fmt: skip
    assert litequeue("work", "jobs.db", "--drain") == 0
    capsys.readouterr()
    words = "it expired: not started within 10m of its push"
    shown = facts(capsys, id)
    assert (shown["state"], shown["reason"]) == ("cancelled", words)
    assert shown["why_not_running"] == f"{words}; push it again"
    assert litequeue("list", "jobs.db", "--state", "cancelled") == 0
    assert words in capsys.readouterr().out


def test_a_backup_has_the_limits(queue: Queue, capsys: Capture) -> None:
    for _ in range(2):
        pushed(capsys, "call", '{"host": "a"}')
    assert litequeue("work", "jobs.db", "--drain") == 0
    assert litequeue("backup", "jobs.db", "copy.db") == 0
    with Queue("copy.db") as copy:
        row = copy.get(2)
        assert row == queue.get(2)
        assert (row.state, row.rate_key) == (State.SCHEDULED, "host a")
        assert copy.check() == []
    sql = "select * from litequeue_rates"
    with Queue("copy.db") as copy:
        assert copy.store.database.rows(sql) == queue.store.database.rows(sql)
