"""The command schedule, and what the commands that run jobs do with the schedules."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from commands import Capture, complaint, in_a_process, litequeue
from waiting import Child
from worker_side import edit

from litequeue import Queue
from litequeue.worker.periodic import Schedules

Write = Callable[[Mapping[str, str]], Path]

JOBS = """
from litequeue import Job, job

class NightlyReport(Job, cron="0 2 * * *", queue="reports"):
    def handle(self) -> None: ...

@job(every="15m")
def poll() -> None: ...
"""


@pytest.fixture
def queue(application: Write, capsys: Capture) -> Iterator[Queue]:
    """The schedules of two jobs, one of them of a queue of its own; none is due."""
    application({"jobs.py": JOBS})
    assert litequeue("work", "jobs.db", "--drain", "--quiet") == 0
    with Queue("jobs.db") as made:
        made.store.database.rows("update litequeue_schedules set next_at = 4102444800000")
        yield made


def lines(capsys: Capture) -> list[str]:
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


# Looking


@pytest.mark.parametrize("zone", ["Asia/Kolkata"], indirect=True)
def test_the_schedules_are_listed_in_words_and_local_times(
    zone: object, queue: Queue, capsys: Capture
) -> None:
    queue.store.database.rows(
        "update litequeue_schedules set last_at = 4102441200000 where name = 'poll'"
    )
    assert litequeue("schedule", "jobs.db") == 0
    assert lines(capsys) == [
        "name schedule next run last run paused",
        "NightlyReport at 02:00 every day 2100-01-01 05:30:00 - -",
        "poll every 15 minutes 2100-01-01 05:30:00 2100-01-01 04:30:00 -",
    ]


def test_as_json_the_instants_are_utc(queue: Queue, capsys: Capture) -> None:
    assert litequeue("schedule", "jobs.db", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0] == {
        "name": "NightlyReport",
        "expression": "cron 0 2 * * *",
        "zone": None,
        "words": "at 02:00 every day",
        "next_at": "2100-01-01T00:00:00.000+00:00",
        "last_at": None,
        "last_job": None,
        "paused": False,
        "on_timetable": True,
    }


def test_before_any_worker_ran_what_is_found_is_listed(application: Write, capsys: Capture) -> None:
    application({"jobs.py": "print('imported')" + JOBS})
    with Queue("jobs.db") as queue:
        assert litequeue("schedule", "jobs.db") == 0
        out, err = capsys.readouterr()
        _, nightly, poll, below = [" ".join(line.split()) for line in out.splitlines()]
        assert nightly.startswith("NightlyReport at 02:00 every day 2")
        assert poll.startswith("poll every 15 minutes 2")
        assert below.startswith("Not stored yet: NightlyReport, poll. A worker stores them")
        assert err == "imported\n"
        assert Schedules(queue.store).entries() == []
        assert litequeue("schedule", "jobs.db", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [line["on_timetable"] for line in found] == [False, False]
        assert found[1]["next_at"] > "2026"


def test_a_line_under_an_older_name_stands_for_its_job(
    queue: Queue, application: Write, capsys: Capture
) -> None:
    queue.store.database.rows("update litequeue_schedules set name = 'Report' where name <> 'poll'")
    renamed = JOBS.replace("(Job, ", "(Job, aliases=['report'], ")
    application({"other.py": renamed})
    assert litequeue("schedule", "jobs.db", "--jobs", "other") == 0
    assert "Not stored yet" not in capsys.readouterr().out


def test_a_module_that_fails_to_import_is_named(
    queue: Queue, application: Write, capsys: Capture
) -> None:
    application({"other/__init__.py": "", "other/mail.py": "import not_there"})
    assert litequeue("schedule", "jobs.db", "--jobs", "other") == 0
    out, err = capsys.readouterr()
    assert "NightlyReport" in out
    assert err == "Module other.mail failed to import; `litequeue jobs` says why.\n"


def test_status_says_the_unit_of_a_period(queue: Queue, capsys: Capture) -> None:
    queue.store.database.rows("update litequeue_schedules set expression = 'every 2'")
    assert litequeue("status", "jobs.db") == 0
    assert "(every 2 seconds) in " in capsys.readouterr().out


def test_a_database_without_schedules_says_so(application: Write, capsys: Capture) -> None:
    application({})
    Queue("jobs.db").close()
    assert litequeue("schedule", "jobs.db") == 0
    assert lines(capsys) == [
        "No periodic job is stored. A worker stores its periodic jobs when it starts."
    ]
    assert litequeue("schedule", "jobs.db", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_line_that_was_edited_into_nonsense_is_listed_and_can_be_forgotten(
    queue: Queue, capsys: Capture
) -> None:
    edit(
        queue,
        "update litequeue_schedules set expression = 'cron \x1b[2J', next_at = 'never',"
        " last_at = 9e18, paused_at = 'x' where name = 'poll'",
    )
    assert litequeue("schedule", "jobs.db") == 0
    assert "unreadable: cron \\x1b[2J - 1970-01-01" in lines(capsys)[2]
    assert litequeue("schedule", "jobs.db", "--forget", "poll") == 0
    assert [line.name for line in Schedules(queue.store).entries()] == ["NightlyReport"]


def test_without_a_database_it_says_so_and_makes_none(application: Write, capsys: Capture) -> None:
    folder = application({})
    assert litequeue("schedule", "jobs.db") == 2
    assert "jobs.db" in complaint(capsys)
    assert list(folder.iterdir()) == []


# Running one


def test_run_pushes_a_job_in_addition_to_its_schedule_with_its_options(
    queue: Queue, capsys: Capture
) -> None:
    before = Schedules(queue.store).entries()
    assert litequeue("schedule", "jobs.db", "--run", "nightly-report") == 0
    (id,) = map(int, lines(capsys))
    assert (queue.get(id).name, queue.get(id).queue) == ("NightlyReport", "reports")
    assert Schedules(queue.store).entries() == before


def test_run_of_one_that_is_unfinished_prints_its_id(queue: Queue, capsys: Capture) -> None:
    for _ in range(2):
        assert litequeue("schedule", "jobs.db", "--run", "poll", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"id": 1}
    assert len(queue.find()) == 1


def test_run_works_where_the_code_is_not(queue: Queue, capsys: Capture) -> None:
    Path("jobs.py").unlink()
    sys.modules.pop("jobs")
    assert litequeue("schedule", "jobs.db", "--run", "Poll") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("1\n", "The code of poll is not here: pushed by name alone.\n")
    keys = queue.store.database.rows("select name, unique_key, overlap_key from litequeue_jobs")
    assert keys == [("poll", "schedule poll", "poll")]


def test_run_finds_the_code_in_a_package_by_name(
    queue: Queue, application: Write, capsys: Capture
) -> None:
    application({"other.py": JOBS.replace("reports", "elsewhere")})
    assert litequeue("schedule", "jobs.db", "--run", "nightly-report", "--jobs", "other") == 0
    assert queue.get(1).queue == "elsewhere"
    assert litequeue("schedule", "jobs.db", "--run", "nightly-report", "--jobs", "nowhere") == 2


# Pausing, resuming, forgetting


def test_pause_and_resume_in_any_spelling(queue: Queue, capsys: Capture) -> None:
    assert litequeue("schedule", "jobs.db", "--pause", "nightly_report") == 0
    assert litequeue("schedule", "jobs.db") == 0
    paused = lines(capsys)
    assert paused[0] == "Paused NightlyReport."
    assert paused[2] == "NightlyReport at 02:00 every day - - yes"
    assert litequeue("schedule", "jobs.db", "--resume", "NIGHTLY-REPORT") == 0
    (resumed,) = lines(capsys)
    assert resumed.startswith("Resumed NightlyReport; it is next due at ")
    assert resumed.endswith(" 02:00:00.")


def test_pause_of_a_paused_job_and_resume_of_another_is_status_1(
    queue: Queue, capsys: Capture
) -> None:
    assert litequeue("schedule", "jobs.db", "--resume", "poll") == 1
    assert complaint(capsys) == "poll was not paused.\n"
    assert litequeue("schedule", "jobs.db", "--pause", "poll") == 0
    capsys.readouterr()
    assert litequeue("schedule", "jobs.db", "--pause", "poll") == 1
    assert complaint(capsys) == "poll was paused already.\n"
    assert litequeue("schedule", "jobs.db", "--pause", "poll", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"name": "poll", "paused": True, "changed": False}


def test_a_forgotten_job_is_back_when_a_worker_with_its_code_starts(
    queue: Queue, capsys: Capture
) -> None:
    assert litequeue("schedule", "jobs.db", "--forget", "POLL") == 0
    assert lines(capsys)[0].startswith("Forgot poll; a worker that has its code adds it again")
    assert [line.name for line in Schedules(queue.store).entries()] == ["NightlyReport"]
    litequeue("work", "jobs.db", "--drain", "--quiet")
    assert [line.name for line in Schedules(queue.store).entries()] == ["NightlyReport", "poll"]


@pytest.mark.parametrize("verb", ["--run", "--pause", "--resume", "--forget"])
def test_a_name_without_a_schedule_is_status_1(queue: Queue, capsys: Capture, verb: str) -> None:
    assert litequeue("schedule", "jobs.db", verb, "nope") == 1
    assert complaint(capsys).startswith("litequeue: There is no periodic job 'nope'")


def test_one_verb_at_a_time(queue: Queue, capsys: Capture) -> None:
    assert litequeue("schedule", "jobs.db", "--run", "poll", "--pause", "poll") == 2
    assert "not allowed with" in complaint(capsys)


# The commands that run jobs


@pytest.fixture
def application_of_a_second(application: Callable[..., Path]) -> Iterator[Queue]:
    source = """
from litequeue import job

@job(every="1s")
def tick() -> None:
    print("came", flush=True)
"""
    application({"jobs.py": source})
    with Queue("jobs.db") as queue:
        yield queue


def overdue(queue: Queue) -> None:
    """Set the schedules to where they are after some downtime."""
    in_a_process("work", "jobs.db", "--drain")
    queue.forget(state="ready")
    queue.store.database.rows("update litequeue_schedules set next_at = next_at - 60000")


def test_drain_from_cron_ticks_too(application_of_a_second: Queue) -> None:
    overdue(application_of_a_second)
    assert b"came" in in_a_process("work", "jobs.db", "--drain").stdout


def test_run_pushes_nothing_that_is_due(application_of_a_second: Queue) -> None:
    overdue(application_of_a_second)
    done = in_a_process("run", "jobs.db", "tick")
    assert (done.returncode, done.stdout) == (1, b"")
    assert application_of_a_second.find() == []


def test_a_worker_wakes_for_the_tick_without_waiting_for_its_poll(
    application_of_a_second: Queue, start: Callable[..., Child]
) -> None:
    script = "from litequeue.cli.main import main; main(['work', 'jobs.db', '--sleep', '3600'])"
    worker = start(script)
    while worker.line(within=10) != "came":
        continue
