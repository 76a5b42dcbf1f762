"""status and list: what they print, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest
from commands import (
    ENVIRONMENT,
    Capture,
    claimed_by_dead_worker,
    claimed_here,
    complaint,
    failed,
    litequeue,
)
from worker_side import edit

from litequeue import Queue
from litequeue.monitor import status as overview
from litequeue.monitor.status import span

Write = Callable[[Mapping[str, str]], Path]


# status


def test_status_counts_by_queue_and_state(queue: Queue, capsys: Capture) -> None:
    queue.push("a", queue="emails")
    queue.push("b", queue="emails", delay=3600)
    queue.push("c")
    assert litequeue("status", "jobs.db") == 0
    out = capsys.readouterr().out
    assert re.search(r"queue +ready +scheduled +running +failed +oldest wait", out)
    assert re.search(r"default +1 +0 +0 +0 +0 s", out)
    assert re.search(r"emails +1 +1 +0 +0 +\d s", out)
    assert "Next scheduled: 2 (b) in 59 min" in out
    assert "No worker is alive. Start one with `litequeue work jobs.db`." in out


def test_an_empty_queue_says_so(queue: Queue, capsys: Capture) -> None:
    assert litequeue("status", "jobs.db") == 0
    assert litequeue("list", "jobs.db") == 0
    assert capsys.readouterr().out.count("The queue is empty.") == 2


def test_a_paused_queue_is_marked_even_without_jobs(queue: Queue, capsys: Capture) -> None:
    queue.pause("emails")
    litequeue("status", "jobs.db")
    assert re.search(r"emails \(paused\) +0 ", capsys.readouterr().out)


def test_states_that_are_rare_have_a_column_where_they_occur(queue: Queue, capsys: Capture) -> None:
    queue.cancel(queue.push("a"))
    litequeue("status", "jobs.db")
    assert "cancelled" in capsys.readouterr().out


def test_the_oldest_wait_counts_from_when_the_job_was_due(queue: Queue, capsys: Capture) -> None:
    start = datetime.now().timestamp()
    with Queue("jobs.db", clock=lambda: start - 400) as before:
        before.push("old")
        before.push("past", at="2000-01-01 10:00")
    queue.push("new")
    litequeue("status", "jobs.db")
    assert re.search(r"default +3 +0 +0 +0 +6 min", capsys.readouterr().out)


def test_the_oldest_wait_may_be_that_of_a_later_job(queue: Queue, capsys: Capture) -> None:
    start = datetime.now().timestamp()
    with Queue("jobs.db", clock=lambda: start - 400) as before:
        first = before.push("first", delay=1000)
        before.push("second", priority=-1)
    queue.retry(first)
    litequeue("status", "jobs.db")
    assert re.search(r"default +2 +0 +0 +0 +6 min", capsys.readouterr().out)


def test_the_oldest_wait_is_read_off_one_row_where_it_can_be(queue: Queue) -> None:
    plan = queue.store.database.rows("explain query plan" + overview.FIRST_WAITS, {"now": 0})
    reads = [step for *_, step in plan if "litequeue_jobs" in step]
    assert len(reads) == 2
    assert "INTEGER PRIMARY KEY" in reads[0]
    assert "INDEX litequeue_ready" in reads[1]


def test_a_worker_is_told_of_with_what_it_runs(queue: Queue, capsys: Capture) -> None:
    queue.push("send-mail")
    row = claimed_here(queue)
    queue.store.executions.progress(row, 3, 10)
    litequeue("status", "jobs.db")
    line = rf"Worker {os.getpid()} \(all queues\) has run 1 \(send-mail\) for \d s, 3/10 done"
    assert re.search(line, capsys.readouterr().out)


def test_an_idle_worker_is_told_of_with_its_queues(queue: Queue, capsys: Capture) -> None:
    registration = queue.store.presence.register(("high", "low"))
    litequeue("status", "jobs.db")
    assert f"Worker {os.getpid()} (high, low) is idle" in capsys.readouterr().out
    registration.leave()


def test_jobs_of_dead_workers_are_told_of(queue: Queue, capsys: Capture) -> None:
    queue.push("send-mail")
    claimed_by_dead_worker(queue)
    litequeue("status", "jobs.db")
    out = capsys.readouterr().out
    assert "Left behind by a dead worker: 1 job, for any worker to rescue." in out
    assert "No worker is alive." in out


def test_status_as_json(queue: Queue, capsys: Capture) -> None:
    queue.push("send-mail", queue="emails")
    row = claimed_here(queue)
    queue.push("later", delay=60)
    queue.pause("emails")
    assert litequeue("status", "jobs.db", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == queue.path
    assert [each["queue"] for each in facts["queues"]] == ["default", "emails"]
    assert facts["queues"][1]["paused"] is True
    assert facts["queues"][1]["running"] == 1
    assert facts["queues"][1]["oldest_wait"] is None
    (worker,) = facts["workers"]
    assert (worker["pid"], worker["queues"]) == (os.getpid(), [])
    assert worker["running"][0]["id"] == row.id
    assert facts["next_scheduled"]["name"] == "later"


def test_watch_prints_blocks_to_a_pipe_until_it_is_interrupted(queue: Queue) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "litequeue", "status", "jobs.db", "--watch", "0.1"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert watching.stdout is not None
    seen = b""
    while seen.count(b"The queue is empty.") < 2:
        assert select.select([watching.stdout], [], [], 20)[0]
        seen += os.read(watching.stdout.fileno(), 4096)
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (0, b"")
    assert b"\x1b" not in seen


def test_a_closed_pipe_ends_a_command_in_silence(queue: Queue) -> None:
    queue.push_many([("send-mail", {"text": "x" * 100})] * 2000)
    command = f"{sys.executable} -m litequeue list jobs.db --limit 2000 --json | head -1"
    done = subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, timeout=30)
    assert (done.stdout, done.stderr) == (b"[\n", b"")


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (overview.LONGEST_WAIT, "litequeue_ready"),
        (overview.AHEAD, "litequeue_ready"),
        (overview.NEXT_SCHEDULED, "litequeue_timer"),
        (overview.RUNNING_OF_WORKERS, "litequeue_running"),
    ],
)
def test_each_view_reads_by_its_index(queue: Queue, sql: str, index: str) -> None:
    values = {"now": 0, "queue": "", "priority": 0, "id": 0}
    plan = [str(step) for *_, step in queue.store.database.rows("explain query plan" + sql, values)]
    reads = [step for step in plan if "litequeue_jobs" in step]
    assert reads
    assert all(f"INDEX {index}" in step for step in reads), plan


# list


def test_list_shows_the_newest_first(queue: Queue, capsys: Capture) -> None:
    queue.push("older")
    queue.push("newer", max_attempts=7)
    assert litequeue("list", "jobs.db") == 0
    heads, newer, older = capsys.readouterr().out.splitlines()
    assert heads.split() == ["id", "state", "queue", "name", "attempts", "when", "reason"]
    assert newer.split()[:5] == ["2", "ready", "default", "newer", "0/7"]
    assert older.split()[:5] == ["1", "ready", "default", "older", "0/3"]


def test_list_filters(queue: Queue, capsys: Capture) -> None:
    queue.push("SendMail", queue="emails")
    queue.push("SendMail", delay=60)
    queue.push("other")
    for filters, ids in (
        (["--name", "send-mail"], [2, 1]),
        (["--queue", "emails"], [1]),
        (["--state", "scheduled"], [2]),
        (["--name", "send_mail", "--queue", "default", "--state", "ready"], []),
    ):
        assert litequeue("list", "jobs.db", "--json", *filters) == 0
        assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ids


def test_list_says_where_it_stopped(queue: Queue, capsys: Capture) -> None:
    queue.push_many([("a", {})] * 21)
    litequeue("list", "jobs.db")
    assert capsys.readouterr().out.splitlines()[-1].endswith("--limit N lists more than 20.")
    litequeue("list", "jobs.db", "--limit", str(2**63 - 1))
    assert len(capsys.readouterr().out.splitlines()) == 22


def test_list_says_when_nothing_matches(queue: Queue, capsys: Capture) -> None:
    queue.push("a")
    assert litequeue("list", "jobs.db", "--state", "failed") == 0
    assert capsys.readouterr().out == "No job matches.\n"


def test_list_cuts_a_long_reason_and_disarms_control_signs(queue: Queue, capsys: Capture) -> None:
    failed(queue, "Traceback\nValueError: \x1b[2J" + "x" * 100)
    litequeue("list", "jobs.db")
    out = capsys.readouterr().out
    assert "ValueError: \\x1b[2Jxxx" in out
    assert out.endswith("x…\n")


def test_times_are_local_in_tables(queue: Queue, capsys: Capture) -> None:
    queue.push("a", at=datetime(2040, 1, 1, 10, tzinfo=timezone.utc))
    at = datetime(2040, 1, 1, 10, tzinfo=timezone.utc).astimezone()
    litequeue("list", "jobs.db")
    assert f"{at:%Y-%m-%d %H:%M:%S}" in capsys.readouterr().out


@pytest.mark.parametrize("at", ["0001-01-01 00:00:00Z", "9999-12-31 23:59:59Z"])
def test_instants_at_the_ends_of_the_calendar_can_be_shown(
    queue: Queue, capsys: Capture, at: str
) -> None:
    queue.push("a", at=at)
    for command in (["list", "jobs.db"], ["show", "jobs.db", "1"], ["status", "jobs.db"]):
        assert litequeue(*command) == 0
    assert at[:4] in capsys.readouterr().out


# Wrong use, and damage


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("show jobs.db 99", 1),
        ("show jobs.db one", 2),
        ("show jobs.db 0", 2),
        (f"show jobs.db {2**70}", 2),
        ("list jobs.db --state lost", 2),
        ("list jobs.db --limit 0", 2),
        ("list jobs.db --queue \udcff", 2),
        ("status nowhere.db", 2),
        ("status .", 2),
        ("status jobs.db --watch soon", 2),
        ("list", 2),
    ],
)
def test_wrong_use_is_one_line(queue: Queue, capsys: Capture, command: str, status: int) -> None:
    assert litequeue(*command.split()) == status
    assert complaint(capsys)


def test_looking_makes_no_file(application: Write) -> None:
    folder = application({})
    assert litequeue("status", "nowhere.db") == 2
    assert list(folder.iterdir()) == []


def test_a_damaged_row_is_listed_beside_the_good_ones(queue: Queue, capsys: Capture) -> None:
    queue.push("a")
    queue.push("b")
    edit(queue, "update litequeue_jobs set options = '{' where id = 1")
    assert litequeue("list", "jobs.db") == 0
    good, bad = capsys.readouterr().out.splitlines()[1:]
    assert "b" in good.split()
    assert re.match(r" *1 +unreadable +default +a .* it cannot be read: its options is '\{'", bad)
    assert litequeue("list", "jobs.db", "--json") == 0
    good_row, bad_row = json.loads(capsys.readouterr().out)
    assert bad_row.keys() == good_row.keys()
    assert (bad_row["state"], bad_row["name"]) == ("unreadable", "a")


def test_show_says_which_column_of_a_damaged_row_cannot_be_read(
    queue: Queue, capsys: Capture
) -> None:
    queue.push("a")
    edit(queue, "update litequeue_jobs set payload = cast(x'ff1b' as text)")
    assert litequeue("show", "jobs.db", "1") == 0
    out = capsys.readouterr().out
    assert "payload        b'\\xff\\x1b' (unreadable)\n" in out
    assert "`litequeue forget jobs.db 1`" in out
    assert litequeue("show", "jobs.db", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["unreadable"] == {
        "payload": "its payload is b'\\xff\\x1b'"
    }
    assert litequeue("cancel", "jobs.db", "1") == 0
    assert litequeue("forget", "jobs.db", "1") == 0


def test_status_counts_rows_that_were_edited_by_hand(queue: Queue, capsys: Capture) -> None:
    queue.push("a")
    queue.push("b")
    edit(queue, "update litequeue_jobs set queue = x'ff', created_at = 'x' where id = 1")
    assert litequeue("status", "jobs.db") == 0
    assert re.search(r"b'\\xff' +1 ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (864000, "10 days")],
)
def test_a_span_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert span(seconds) == text
