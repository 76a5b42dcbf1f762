"""push: one job, many jobs, and what is refused before anything is written."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, in_a_process, litequeue

from litequeue import Queue

Write = Callable[[Mapping[str, str]], Path]

MAIL = """
from datetime import datetime
from litequeue import Job

class SendMail(Job, queue="emails", priority=3, keep=60):
    user_id: int
    at: datetime | None = None

    def handle(self): ...
"""


@pytest.fixture
def project(application: Write) -> Path:
    """A current folder with a package of jobs that has SendMail in it."""
    return application({"jobs/__init__.py": "", "jobs/mail.py": MAIL})


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Gives bytes to standard input."""

    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def pushed() -> int:
    """How many jobs there are in jobs.db; none where it was never made."""
    if not os.path.exists("jobs.db"):
        return 0
    with Queue("jobs.db") as queue:
        return len(queue.find())


def test_push_prints_the_plain_id_alone(workplace: Path, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "send-mail", '{"user_id": 1}') == 0
    remark = "No jobs package is here: 'send-mail' is pushed by name, unchecked.\n"
    assert capsys.readouterr() == ("1\n", remark)
    with Queue("jobs.db") as queue:
        row = queue.get(1)
        assert (row.name, row.payload) == ("send-mail", '{"user_id":1}')


def test_push_prints_json_where_it_is_asked_to(workplace: Path, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "send-mail", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"id": 1}


def test_the_payload_is_an_empty_object_where_none_is_given(workplace: Path) -> None:
    litequeue("push", "jobs.db", "tidy")
    with Queue("jobs.db") as queue:
        assert queue.get(1).payload == "{}"


def test_every_option_reaches_the_row(workplace: Path) -> None:
    options = (
        "--queue emails --priority -2 --max-attempts 7 --backoff 10,1m --delay 1h --keep 1d "
        "--on-failure delete --timeout 30s"
    )
    assert litequeue("push", "jobs.db", "send-mail", *options.split()) == 0
    with Queue("jobs.db") as queue:
        row = queue.get(1)
    assert (row.queue, row.priority, row.max_attempts) == ("emails", -2, 7)
    assert row.options == {
        "backoff": [10, 60],
        "keep": 86400,
        "on_failure": "delete",
        "timeout": 30,
    }
    assert round((row.available_at - row.created_at).total_seconds()) == 3600


def test_a_single_backoff_is_a_number(workplace: Path) -> None:
    litequeue("push", "jobs.db", "send-mail", "--backoff", "2.5")
    with Queue("jobs.db") as queue:
        assert queue.get(1).options == {"backoff": 2.5}


def test_at_takes_an_instant(workplace: Path) -> None:
    litequeue("push", "jobs.db", "send-mail", "--at", "@4000000000")
    with Queue("jobs.db") as queue:
        assert queue.get(1).available_at.timestamp() == 4_000_000_000


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ('{"a": 1,', "at column 9"),
        ('{\n"a": x}', "at line 2 column 6"),
        ("", "at column 1"),
        ("[1]", "must be an object"),
        ('"text"', "must be an object"),
        ('{"a": NaN}', "'a'"),
        ('{"a": "\\ud800"}', "'a'"),
        ("[" * 100_000, "recursion"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
    ],
)
def test_bad_json_is_one_line_and_pushes_nothing(
    workplace: Path, capsys: Capture, payload: str, complaint: str
) -> None:
    assert litequeue("push", "jobs.db", "send-mail", payload) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1
    assert pushed() == 0


@pytest.mark.parametrize(
    "options",
    [
        "--delay 1h --at 10:00",
        "--delay someday",
        "--priority high",
        "--priority 99999999999999999999",
        "--max-attempts 0",
        "--backoff 10,x",
        "--backoff ,",
        "--timeout 0",
        "--keep -1",
        "--on-failure ignore",
        "--queue \udcff",
        "--after one",
        "--after 1,",
        "--unique=",
        "--unique \udcff",
        "--without-overlapping=",
        "--concurrency 0",
    ],
)
def test_bad_options_are_one_line_and_push_nothing(
    workplace: Path, capsys: Capture, options: str
) -> None:
    assert litequeue("push", "jobs.db", "send-mail", *options.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert pushed() == 0


@pytest.mark.parametrize("name", ["", " ", "a\udcff"])
def test_a_name_must_be_one(workplace: Path, capsys: Capture, name: str) -> None:
    assert litequeue("push", "jobs.db", name) == 2
    assert capsys.readouterr().err.count("\n") == 1


# By the class


def test_a_class_that_is_found_brings_its_options_and_defaults(project: Path) -> None:
    assert litequeue("push", "jobs.db", "send-mail", '{"user_id": 1}') == 0
    with Queue("jobs.db") as queue:
        row = queue.get(1)
    assert (row.name, row.queue, row.priority, row.options) == (
        "SendMail",
        "emails",
        3,
        {"keep": 60},
    )
    assert json.loads(row.payload) == {"user_id": 1, "at": None}


def test_what_push_says_wins_over_the_class(project: Path) -> None:
    litequeue("push", "jobs.db", "SendMail", '{"user_id": 1}', "--queue", "slow", "--priority", "0")
    with Queue("jobs.db") as queue:
        assert (queue.get(1).queue, queue.get(1).priority) == ("slow", 0)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ("{}", "field 'user_id' is missing"),
        ('{"user": 1}', "did you mean 'user_id'?"),
        ('{"user_id": "one"}', "field 'user_id' must be int"),
    ],
)
def test_wrong_fields_fail_here_and_not_in_the_worker(
    project: Path, capsys: Capture, payload: str, complaint: str
) -> None:
    assert litequeue("push", "jobs.db", "send_mail", payload) == 2
    assert complaint in capsys.readouterr().err
    assert pushed() == 0


def test_fields_that_json_has_no_type_for_are_read_by_their_annotation(project: Path) -> None:
    payload = '{"user_id": 1, "at": "2030-01-01T10:00:00"}'
    assert litequeue("push", "jobs.db", "send_mail", payload) == 0
    with Queue("jobs.db") as queue:
        assert json.loads(queue.get(1).payload)["at"] == "2030-01-01T10:00:00"


def test_a_name_unknown_to_the_jobs_here_is_pushed_and_remarked_on(
    project: Path, capsys: Capture
) -> None:
    assert litequeue("push", "jobs.db", "Nope") == 0
    remark = "No job answers to 'Nope' here: pushed by name, unchecked.\n"
    assert capsys.readouterr() == ("1\n", remark)


def test_a_misspelt_name_is_told_the_nearest_one(project: Path, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "send-mial") == 0
    remark = (
        "No job answers to 'send-mial' here (did you mean SendMail?): pushed by name, unchecked."
    )
    assert capsys.readouterr() == ("1\n", f"{remark}\n")


def test_a_module_that_fails_to_import_does_not_break_push(
    application: Write, capsys: Capture
) -> None:
    application({"jobs/mail.py": MAIL, "jobs/broken.py": "import nothing_of_that_name"})
    assert litequeue("push", "jobs.db", "SendMail", '{"user_id": 1}') == 0
    out, err = capsys.readouterr()
    assert out == "1\n"
    assert err.startswith("Module jobs.broken failed to import: ModuleNotFoundError")
    assert err.count("\n") == 1


def test_what_modules_print_does_not_reach_standard_output(
    application: Write, capsys: Capture
) -> None:
    application({"jobs.py": "print('hello')\n" + MAIL})
    litequeue("push", "jobs.db", "SendMail", '{"user_id": 1}')
    assert capsys.readouterr() == ("1\n", "hello\n")


def test_a_jobs_package_that_there_is_not_is_an_error_where_it_was_named(
    workplace: Path, capsys: Capture
) -> None:
    assert litequeue("push", "jobs.db", "SendMail", "--jobs", "no_such_package") == 2
    assert "no_such_package" in capsys.readouterr().err
    assert pushed() == 0


def test_the_jobs_package_can_be_named(application: Write) -> None:
    application({"shop/tasks.py": MAIL})
    options = ("--jobs", "shop.tasks")
    assert litequeue("push", "jobs.db", "SendMail", '{"user_id": 1}', *options) == 0
    with Queue("jobs.db") as queue:
        assert queue.get(1).queue == "emails"


# In bulk


def test_lines_of_standard_input_are_pushed_in_their_order(
    workplace: Path, capsys: Capture, stdin: Callable[[bytes], None]
) -> None:
    stdin('\ufeff{"n": 1}\r\n\n  {"n": "\u2028ü"}\n{"n": 3}'.encode())
    assert litequeue("push", "jobs.db", "count", "-", "--queue", "bulk") == 0
    assert capsys.readouterr().out == "Pushed 3 jobs: ids 1 to 3\n"
    with Queue("jobs.db") as queue:
        rows = queue.find(queue="bulk")
    assert [json.loads(row.payload)["n"] for row in reversed(rows)] == [1, "\u2028ü", 3]


def test_one_line_and_none_are_told_as_such(
    workplace: Path, capsys: Capture, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"{}\n")
    assert litequeue("push", "jobs.db", "count", "-") == 0
    stdin(b"")
    assert litequeue("push", "jobs.db", "count", "-") == 0
    assert capsys.readouterr().out == "Pushed 1 job: id 1\nPushed 0 jobs: there was no line.\n"


def test_bulk_ids_come_as_json(
    workplace: Path, capsys: Capture, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"{}\n{}\n")
    litequeue("push", "jobs.db", "count", "-", "--json")
    assert json.loads(capsys.readouterr().out) == {"ids": [1, 2]}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"user_id": x}', "column 13"),
        (b'{"user_id": "x"}', "must be int"),
        (b"7", "must be an object"),
        (b'{"user_id": "\xff"}', "utf-8"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_nothing_is_pushed(
    project: Path, capsys: Capture, stdin: Callable[[bytes], None], line: bytes, complaint: str
) -> None:
    stdin(b'{"user_id": 1}\n\n' + line + b'\n{"user_id": 4}\n')
    assert litequeue("push", "jobs.db", "SendMail", "-") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("litequeue: line 3: ")
    assert complaint in err
    assert err.count("\n") == 1
    assert pushed() == 0


def test_a_pipe_pushes_in_bulk(workplace: Path) -> None:
    done = in_a_process("push", "jobs.db", "count", "-", stdin=b'{"n": 1}\n' * 2000)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert done.stdout == b"Pushed 2000 jobs: ids 1 to 2000\n"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (".", "it is a directory"),
        ("no/folder/jobs.db", "there is no folder"),
        ("text", "not an SQL"),
    ],
)
def test_a_path_that_can_be_no_database_is_one_line(
    workplace: Path, capsys: Capture, path: str, complaint: str
) -> None:
    Path("text").write_text("something else entirely, and long enough to be read as a header")
    assert litequeue("push", path, "count") == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
