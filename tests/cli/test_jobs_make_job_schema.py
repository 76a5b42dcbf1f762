"""jobs, make-job and schema: the commands for a project's own files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, complaint, in_a_process, litequeue

from litequeue import Queue
from litequeue.cli.make_job import _spelled
from litequeue.engine.schema import KNOWN

Write = Callable[[Mapping[str, str]], Path]

PAY = """
from datetime import datetime
from litequeue import Job, job

def later(attempt):
    return 5.0

class Pay(Job, queue="money", backoff=later, max_attempts=5, delay="1h", aliases=["Charge"]):
    amount: int
    at: datetime | None = None
    def handle(self): ...

@job
def resize(path: str, sizes: "list[int]" = []) -> None: ...
"""


# jobs


def test_jobs_lists_what_a_worker_finds(application: Write, capsys: Capture) -> None:
    application({"jobs/pay.py": PAY})
    assert litequeue("jobs") == 0
    out, err = capsys.readouterr()
    heads, pay, resize = out.splitlines()
    assert heads.split() == ["name", "where", "queue", "options", "fields"]
    assert pay.split()[:3] == ["Pay", "jobs.pay", "money"]
    assert "backoff=later, max_attempts=5, delay=1h" in pay
    assert "amount: int, at: datetime.datetime | None = None" in pay
    assert resize.split()[:4] == ["resize", "jobs.pay", "default", "-"]
    assert "path: str, sizes: list[int] = ..." in resize
    assert err == ""


def test_jobs_as_json(application: Write, capsys: Capture) -> None:
    application({"jobs/pay.py": "print('noise')\n" + PAY})
    assert litequeue("jobs", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["packages"] == ["jobs"]
    assert facts["failures"] == []
    assert facts["jobs"][0] == {
        "name": "Pay",
        "aliases": ["Charge"],
        "where": "jobs.pay.Pay",
        "queue": "money",
        "expression": None,
        "zone": None,
        "words": None,
        "options": {"queue": "money", "backoff": "later", "max_attempts": 5, "delay": "1h"},
        "fields": [
            {"name": "amount", "type": "int", "required": True},
            {"name": "at", "type": "datetime.datetime | None", "required": False},
        ],
    }
    assert err == "noise\n"


def test_jobs_says_when_periodic_jobs_come(application: Write, capsys: Capture) -> None:
    periodic = """
@job(every=2)
def poll() -> None: ...

@job(cron="0 2 * * *", tz="UTC")
def nightly() -> None: ...
"""
    application({"jobs/pay.py": PAY + periodic})
    assert litequeue("jobs") == 0
    heads, pay, nightly, poll, _ = capsys.readouterr().out.splitlines()
    assert heads.split() == ["name", "where", "queue", "schedule", "options", "fields"]
    assert pay.split()[3] == "-"
    assert "at 02:00 every day, UTC time" in nightly
    assert "every 2 seconds" in poll
    assert litequeue("jobs", "--json") == 0
    facts = json.loads(capsys.readouterr().out)["jobs"][1]
    assert (facts["expression"], facts["zone"]) == ("cron 0 2 * * *", "UTC")
    assert facts["words"] == "at 02:00 every day, UTC time"


def test_jobs_tells_of_a_module_that_fails_and_of_the_others(
    application: Write, capsys: Capture
) -> None:
    application({"jobs/pay.py": PAY, "jobs/broken.py": "1 / 0"})
    assert litequeue("jobs", "--json") == 1
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert [job["name"] for job in facts["jobs"]] == ["Pay", "resize"]
    assert facts["failures"][0]["module"] == "jobs.broken"
    assert err.startswith("Module jobs.broken failed to import:\nTraceback")
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("files", "words", "expected"),
    [
        ({}, "jobs", "neither a jobs nor an app/jobs package"),
        ({"jobs/__init__.py": ""}, "jobs", "there is no job class in jobs"),
        ({}, "jobs --jobs nowhere_at_all", "there is no module 'nowhere_at_all'"),
    ],
)
def test_no_jobs_is_one_line_and_exit_2(
    application: Write, capsys: Capture, files: Mapping[str, str], words: str, expected: str
) -> None:
    application(files)
    assert litequeue(*words.split()) == 2
    assert expected in complaint(capsys)


# make-job


@pytest.mark.parametrize(
    ("text", "name", "module"),
    [
        ("SendWelcomeEmail", "SendWelcomeEmail", "send_welcome_email"),
        ("send_welcome_email", "SendWelcomeEmail", "send_welcome_email"),
        ("send-welcome-email", "SendWelcomeEmail", "send_welcome_email"),
        ("send welcome email", "SendWelcomeEmail", "send_welcome_email"),
        ("HTTPFetch", "HTTPFetch", "http_fetch"),
        ("resize", "Resize", "resize"),
        ("Resize2", "Resize2", "resize2"),
        ("überweisen", "Überweisen", "überweisen"),
    ],
)
def test_a_name_may_come_in_any_spelling(text: str, name: str, module: str) -> None:
    assert _spelled(text) == (name, module)


@pytest.mark.parametrize(
    "name",
    ["", "--", "2fa", "class", "None", "a.b", "../up", "a/b", "send mail!", "\udcff", "x\x00y"],
)
def test_a_name_that_python_does_not_take_is_refused(
    workplace: Path, capsys: Capture, name: str
) -> None:
    assert litequeue("make-job", "--", name) == 2
    assert complaint(capsys)
    assert list(workplace.iterdir()) == []


def test_a_made_job_runs_as_it_is(workplace: Path) -> None:
    assert in_a_process("make-job", "send-welcome-email").returncode == 0
    assert in_a_process("push", "jobs.db", "SendWelcomeEmail").stdout == b"1\n"
    worked = in_a_process("work", "jobs.db", "--drain")
    assert worked.returncode == 0
    assert b"SendWelcomeEmail says hello\n" in worked.stdout
    assert b"Job processed successfully: 1" in worked.stdout


def test_make_job_tells_the_path_and_how_to_push(workplace: Path, capsys: Capture) -> None:
    assert litequeue("make-job", "SendMail") == 0
    made, push, work = capsys.readouterr().out.splitlines()
    assert made == "Made jobs/send_mail.py"
    assert push.endswith("""litequeue push jobs.db SendMail '{"message": "hello"}'""")
    assert work.endswith("litequeue work jobs.db")
    assert (workplace / "jobs/__init__.py").read_text() == ""


def test_make_job_leaves_a_folder_that_is_there_as_it_is(application: Write) -> None:
    folder = application({"jobs/other.py": PAY})
    litequeue("make-job", "SendMail")
    assert not (folder / "jobs/__init__.py").exists()


def test_make_job_does_not_write_over_a_file_unless_it_is_told_to(
    workplace: Path, capsys: Capture
) -> None:
    litequeue("make-job", "SendMail")
    capsys.readouterr()
    file = workplace / "jobs/send_mail.py"
    template = file.read_text()
    file.write_text("mine")
    assert litequeue("make-job", "send-mail") == 1
    assert "jobs/send_mail.py exists already" in complaint(capsys)
    assert file.read_text() == "mine"
    assert litequeue("make-job", "send-mail", "--force") == 0
    assert file.read_text() == template


@pytest.mark.parametrize("name", ["Charge", "RE_SIZE", "pay"])
def test_a_name_that_another_job_answers_to_is_taken(
    application: Write, capsys: Capture, name: str
) -> None:
    folder = application({"jobs/all.py": PAY})
    assert litequeue("make-job", name) == 1
    assert "jobs.all." in complaint(capsys)
    assert [path.name for path in (folder / "jobs").iterdir()] == ["all.py"]


def test_make_job_in_a_named_package(workplace: Path, capsys: Capture) -> None:
    assert litequeue("make-job", "SendMail", "--package", "shop.tasks") == 0
    assert "litequeue work jobs.db --jobs shop.tasks\n" in capsys.readouterr().out
    assert (workplace / "shop/__init__.py").exists()
    assert (workplace / "shop/tasks/__init__.py").exists()
    assert (workplace / "shop/tasks/send_mail.py").exists()


def test_make_job_writes_where_a_worker_looks(
    application: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = application({"app/jobs/pay.py": PAY})
    assert litequeue("make-job", "SendMail") == 0
    assert (folder / "app/jobs/send_mail.py").exists()
    monkeypatch.setenv("LITEQUEUE_JOBS", "mine")
    assert litequeue("make-job", "SendMail") == 0
    assert (folder / "mine/send_mail.py").exists()


@pytest.mark.parametrize(
    ("files", "words", "expected"),
    [
        ({"jobs.py": PAY}, "", "write to another one with --package NAME"),
        ({"jobs": "a file"}, "", "cannot be written"),
        ({}, "--package json", "a module of Python itself"),
        ({}, "--package a/b", "is not the name of a package"),
        ({}, "--package ..up", "is not the name of a package"),
    ],
)
def test_a_package_that_cannot_be_is_refused(
    application: Write, capsys: Capture, files: Mapping[str, str], words: str, expected: str
) -> None:
    application(files)
    assert litequeue("make-job", "SendMail", *words.split()) == 2
    assert expected in complaint(capsys)


def test_a_package_of_the_jobs_name_is_in_the_way(application: Write, capsys: Capture) -> None:
    application({"jobs/send_mail/__init__.py": ""})
    assert litequeue("make-job", "SendMail", "--force") == 1
    assert "jobs/send_mail is a package already" in complaint(capsys)


# schema


def test_schema_prints_sql_that_makes_the_tables(workplace: Path, capsys: Capture) -> None:
    assert litequeue("schema") == 0
    connection = sqlite3.connect("made.db")
    connection.executescript(capsys.readouterr().out)
    connection.close()
    with Queue("made.db", create=False) as queue:
        assert queue.push("a") == 1
    assert litequeue("schema", "made.db") == 0
    assert "is up to date (0 steps)" in capsys.readouterr().out


def test_schema_makes_a_file_that_is_missing_and_says_so(workplace: Path, capsys: Capture) -> None:
    assert litequeue("schema", "jobs.db") == 0
    assert capsys.readouterr().out == f"Made {workplace / 'jobs.db'} ({KNOWN} steps).\n"


def test_schema_brings_an_applications_file_up_to_date(workplace: Path, capsys: Capture) -> None:
    connection = sqlite3.connect("app.db")
    connection.execute("create table users (id integer)")
    connection.close()
    assert litequeue("schema", "app.db") == 0
    done = f"Brought {workplace / 'app.db'} up to date ({KNOWN} steps).\n"
    assert capsys.readouterr().out == done


HELPED = "push status list show retry cancel forget prune pause resume jobs make-job schema"


@pytest.mark.parametrize("command", HELPED.split())
def test_every_help_ends_with_examples(workplace: Path, capsys: Capture, command: str) -> None:
    assert litequeue(command, "--help") == 0
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2]
    lines = [line for line in examples.splitlines() if line.strip()]
    assert 2 <= len(lines) <= 3
    assert all("litequeue " in line for line in lines)
    assert all(len(line) <= 100 for line in lines)
