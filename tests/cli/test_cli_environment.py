"""--env-file, and what the commands take from LITEQUEUE_DB, _JOBS, _QUEUE and _MAX_ATTEMPTS."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import ENVIRONMENT, Capture, complaint, in_a_process, litequeue

from litequeue import Queue
from litequeue.cli.environment import read
from litequeue.records import State

Write = Callable[[Mapping[str, str]], Path]

JOBS = """
from litequeue import Job, job

class Mail(Job, queue="emails"):
    def handle(self): raise ValueError("no")

class Stubborn(Job, max_attempts=4):
    def handle(self): raise ValueError("no")

@job(keep=60)
def tell(name: str) -> "str":
    import os
    return os.environ.get(name, "unset")
"""


@pytest.fixture
def workplace(application: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with jobs, whose environment says nothing and is as it was afterwards."""
    for name in ("DB", "JOBS", "QUEUE", "MAX_ATTEMPTS"):
        # First set: what a command sets is then taken back as well.
        monkeypatch.setenv(f"LITEQUEUE_{name}", "")
        monkeypatch.delenv(f"LITEQUEUE_{name}")
    monkeypatch.setenv("GREETING", "")
    monkeypatch.delenv("GREETING")
    return application({"jobs.py": JOBS})


# The file


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("   ", {}),
        ("# A=1", {}),
        ("  # A=1", {}),
        ("A=1", {"A": "1"}),
        ("  A = 1  ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("export\tA=1", {"A": "1"}),
        ("export=1", {"export": "1"}),
        ("A=", {"A": ""}),
        ("A=   # nothing yet", {"A": ""}),
        ("A=1 # one", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": "#b"}),
        ("A=two words", {"A": "two words"}),
        ("A=b=c", {"A": "b=c"}),
        ("A=it's", {"A": "it's"}),
        ("A=$HOME", {"A": "$HOME"}),
        ("A=' # b '", {"A": " # b "}),
        ("A='b' # c", {"A": "b"}),
        (r"A='a\nb'", {"A": r"a\nb"}),
        ('A=" # b "', {"A": " # b "}),
        ('A="b" # c "d"', {"A": "b"}),
        (r'A="a\nb\t\"c\"\\"', {"A": 'a\nb\t"c"\\'}),
        (r'A="\$5 \d"', {"A": r"$5 \d"}),
        ("A=''", {"A": ""}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=ü", {"A": "ü"}),
        ("A=a\u2028b", {"A": "a\u2028b"}),
    ],
)
def test_a_line_of_the_file_means(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    file = tmp_path / "app.env"
    file.write_bytes(line.encode())
    assert read(str(file)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"SECRET", "a line must be KEY=VALUE, a comment or blank"),
        (b"=SECRET", "a line must be KEY=VALUE"),
        (b"2A=SECRET", "a line must be KEY=VALUE"),
        (b"A-B=SECRET", "a line must be KEY=VALUE"),
        (b"set A=SECRET", "a line must be KEY=VALUE"),
        (b"A='SECRET", "the value of A has no closing quote"),
        (b'A="SECRET', "the value of A has no closing quote"),
        (b'A="SECRET\\"', "the value of A has no closing quote"),
        (b"A='b'SECRET", "the value of A has no closing quote, or more after it"),
        (b"A=SECRET\0", "the value of A has a NUL"),
        (b"A=SECRET\xff", "is not UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_its_secret_is_not_told(
    workplace: Path, capsys: Capture, line: bytes, expected: str
) -> None:
    Path("app.env").write_bytes(b"# a comment\n\n" + line + b"\n")
    assert litequeue("jobs", "--env-file", "app.env") == 2
    said = complaint(capsys)
    assert said.startswith(f"litequeue: app.env, line 3: {expected}")
    assert "SECRET" not in said


@pytest.mark.parametrize(
    "words", ["work jobs.db", "run jobs.db mail", "push jobs.db mail", "jobs", "status", "doctor"]
)
def test_a_missing_file_is_one_line_and_exit_2(
    workplace: Path, capsys: Capture, words: str
) -> None:
    assert litequeue(*words.split(), "--env-file", "none.env") == 2
    assert complaint(capsys) == ("litequeue: none.env: cannot be read: No such file or directory\n")
    assert not Path("jobs.db").exists()


def test_a_folder_is_no_file_of_variables(workplace: Path, capsys: Capture) -> None:
    assert litequeue("jobs", "--env-file", ".") == 2
    assert complaint(capsys) == "litequeue: .: cannot be read: Is a directory\n"


def told(*words: str) -> object:
    """What the job ``tell`` finds in its environment when a worker runs it."""
    with Queue("jobs.db") as queue:
        id = queue.push("tell", {"name": "GREETING"})
        worked = in_a_process("work", "jobs.db", "--drain", *words)
        assert worked.returncode == 0, worked.stderr
        return queue.result(id, timeout=5)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_job_sees_the_variables_of_the_file(workplace: Path, workers: tuple[str, ...]) -> None:
    Path("app.env").write_text("GREETING='from the file'\n")
    assert told("--env-file", "app.env", *workers) == "from the file"


def test_what_is_set_already_wins(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("app.env").write_text("GREETING=file\n")
    monkeypatch.setitem(ENVIRONMENT, "GREETING", "shell")
    assert told("--env-file", "app.env") == "shell"
    monkeypatch.setitem(ENVIRONMENT, "GREETING", "")
    assert told("--env-file", "app.env") == ""


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its zone")
def test_a_zone_in_the_file_is_the_zone_of_the_command(workplace: Path) -> None:
    Path("app.env").write_text("TZ=Asia/Kolkata\n")
    pushed = in_a_process(
        *("push", "jobs.db", "tell", '{"name": "a"}', "--at", "2030-01-01 05:30:00"),
        *("--env-file", "app.env"),
    )
    assert pushed.returncode == 0, pushed.stderr
    with Queue("jobs.db") as queue:
        assert queue.get(1).available_at.isoformat() == "2030-01-01T00:00:00+00:00"


# LITEQUEUE_DB


def test_the_database_may_be_left_out_where_litequeue_db_names_it(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    Queue("mine.db").close()
    monkeypatch.setenv("LITEQUEUE_DB", "mine.db")
    for words in (
        ("status",),
        ("list",),
        ("prune", "--older", "7d"),
        ("work", "--drain"),
        ("recipe", "cron"),
    ):
        assert litequeue(*words) == 0, words
        assert capsys.readouterr().err == ""
    assert not Path("jobs.db").exists()


def test_the_database_on_the_command_line_wins(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    Queue("jobs.db").close()
    monkeypatch.setenv("LITEQUEUE_DB", "other.db")
    assert litequeue("status", "jobs.db") == 0
    assert "jobs.db" in capsys.readouterr().out
    assert not Path("other.db").exists()


def test_the_file_of_variables_may_name_the_database(workplace: Path, capsys: Capture) -> None:
    Queue("mine.db").close()
    Path("app.env").write_text("LITEQUEUE_DB=mine.db\n")
    assert litequeue("status", "--env-file", "app.env") == 0
    assert "mine.db" in capsys.readouterr().out


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("words", ["work", "status", "list", "prune --older 1d", "doctor"])
def test_no_database_is_one_line_that_names_both_ways(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str, empty: str | None
) -> None:
    if empty is not None:
        monkeypatch.setenv("LITEQUEUE_DB", empty)
    assert litequeue(*words.split()) == 2
    command = words.split()[0]
    assert complaint(capsys) == (
        f"litequeue {command}: no database is named: give its path, such as jobs.db, or set "
        f"LITEQUEUE_DB; see litequeue {command} --help\n"
    )


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("push", "NAME"),
        ("show", "ID"),
        ("pause", "QUEUE"),
        ("backup", "FILE"),
        ("push x.db", "NAME"),
    ],
)
def test_a_command_of_more_words_needs_them(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str, missing: str
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "jobs.db")
    assert litequeue(*words.split()) == 2
    assert f"the following arguments are required: {missing}" in complaint(capsys)
    assert not list(workplace.glob("*.db"))


def test_every_command_takes_the_database_of_the_environment(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "mine.db")
    for words in (
        ("push", "tell", '{"name": "GREETING"}'),
        ("push", "--queue", "low", "tell", "--priority", "5", '{"name": "GREETING"}'),
        ("show", "1"),
        ("cancel", "1"),
        ("retry", "1", "--json"),
        ("cancel", "1", "2"),
        ("retry", "--state", "cancelled"),
        ("cancel", "--queue", "low"),
        ("forget", "2"),
        ("pause", "default"),
        ("resume", "default"),
        ("list",),
        ("run", "tell"),
        ("backup", "copy"),
        ("status",),
    ):
        assert litequeue(*words) == 0, words
    assert capsys.readouterr().err == ""
    assert {path.name for path in workplace.iterdir()} >= {"mine.db", "copy"}
    assert not (workplace / "tell").exists()


def test_a_first_word_that_names_a_database_wins_over_the_environment(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "mine.db")
    Queue("plain").close()  # a file that is there needs no ending
    for database in ("other.db", "other.SQLITE3", "./other", "plain"):
        assert litequeue("push", database, "tell", '{"name": "GREETING"}') == 0
        with Queue(database, create=False) as queue:
            assert queue.get(1).name == "tell"
    assert not Path("mine.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("push", "tell", '{"name": "GREETING"}'),
        ("push", "tell", "jobs.db"),
        ("push", "tell", "jobs.db", "{}"),
        ("work", "tell", "--drain"),
        ("status", "tell"),
        ("show", "42"),
        ("retry", "42", "43"),
        ("pause", "emails"),
        ("run", "tell"),
        ("schema", "tell"),
        ("recipe", "cron", "tell"),
        ("work", "jobs"),
    ],
)
def test_a_word_that_names_no_database_is_refused_and_makes_no_file(
    workplace: Path, capsys: Capture, words: tuple[str, ...]
) -> None:
    before = sorted(workplace.iterdir())
    assert litequeue(*words) == 2
    told = complaint(capsys)
    assert "is not a database name (those end in .db" in told
    assert "give the database first, or set LITEQUEUE_DB" in told
    assert sorted(workplace.iterdir()) == before


def test_words_in_the_wrong_order_are_refused_with_the_environment_too(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "jobs.db")
    assert litequeue("push", "tell", "jobs.db", "{}") == 2
    assert "'tell' is not a database name" in complaint(capsys)
    assert litequeue("push", "tell", "jobs.db") == 2
    assert "JSON" in complaint(capsys)
    assert not Path("tell").exists()


def test_a_word_that_may_be_missing_may_stand_behind_an_option(
    workplace: Path, capsys: Capture
) -> None:
    payload = '{"name": "GREETING"}'
    assert litequeue("push", "jobs.db", "tell", "--priority", "5", payload) == 0
    assert litequeue("recipe", "cron", "--queue", "a", "jobs.db") == 0
    assert litequeue("run", "jobs.db", "--quiet", "tell") == 0
    assert capsys.readouterr().err == ""


# The precedence: push, class, the worker's flag, environment, file, default


@pytest.mark.parametrize(
    ("name", "pushed", "flag", "shell", "file", "expected"),
    [
        ("mail", None, None, None, None, 3),
        ("mail", None, None, None, "5", 5),
        ("mail", None, None, "6", "5", 6),
        ("mail", None, "7", "6", "5", 7),
        ("stubborn", None, "7", "6", "5", 4),
        ("stubborn", 8, "7", "6", "5", 8),
    ],
)
def test_the_nearest_number_of_attempts_counts(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    name: str,
    pushed: int | None,
    flag: str | None,
    shell: str | None,
    file: str | None,
    expected: int,
) -> None:
    Path("app.env").write_text("" if file is None else f"LITEQUEUE_MAX_ATTEMPTS={file}\n")
    if shell is not None:
        monkeypatch.setenv("LITEQUEUE_MAX_ATTEMPTS", shell)
    assert litequeue("push", "jobs.db", name, *_max_attempts(pushed)) == 0
    flags = () if flag is None else ("--retries", flag)
    assert litequeue("work", "jobs.db", "--once", "--env-file", "app.env", *flags) == 0
    assert f"attempt 2/{expected} in" in capsys.readouterr().err


def _max_attempts(number: int | None) -> tuple[str, ...]:
    return () if number is None else ("--max-attempts", str(number))


@pytest.mark.parametrize(
    ("flag", "shell", "file", "expected"),
    [
        (None, None, None, {"emails", "default"}),
        (None, None, "emails", {"emails"}),
        (None, "default", "emails", {"default"}),
        ("emails", "default", None, {"emails"}),
    ],
)
def test_the_nearest_list_of_queues_is_served(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    shell: str | None,
    file: str | None,
    expected: set[str],
) -> None:
    Path("app.env").write_text("" if file is None else f"LITEQUEUE_QUEUE={file}\n")
    if shell is not None:
        monkeypatch.setenv("LITEQUEUE_QUEUE", shell)
    with Queue("jobs.db") as queue:
        ids = {"emails": queue.push("mail", queue="emails"), "default": queue.push("stubborn")}
        flags = () if flag is None else ("--queue", flag)
        assert litequeue("work", "jobs.db", "--drain", "--env-file", "app.env", *flags) == 0
        ran = {name for name, id in ids.items() if queue.get(id).state is State.SCHEDULED}
    assert ran == expected


@pytest.mark.parametrize(
    ("flag", "shell", "file", "expected"),
    [
        (None, None, None, "jobs"),
        (None, None, "shop", "shop"),
        (None, "inn", "shop", "inn"),
        ("bank", "inn", "shop", "bank"),
    ],
)
def test_the_nearest_package_is_where_jobs_are_found(
    application: Write,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    flag: str | None,
    shell: str | None,
    file: str | None,
    expected: str,
) -> None:
    application({f"{package}.py": JOBS for package in ("shop", "inn", "bank")})
    Path("app.env").write_text("" if file is None else f"LITEQUEUE_JOBS={file}\n")
    if shell is not None:
        monkeypatch.setenv("LITEQUEUE_JOBS", shell)
    flags = () if flag is None else ("--jobs", flag)
    assert litequeue("jobs", "--env-file", "app.env", *flags) == 0
    assert f" {expected} " in capsys.readouterr().out


def test_a_queue_whose_name_begins_with_a_dash_reaches_the_workers(workplace: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("--workers needs POSIX")
    with Queue("jobs.db") as queue:
        id = queue.push("tell", {"name": "GREETING"}, queue="-odd")
        worked = in_a_process("work", "jobs.db", "--drain", "--queue=-odd", "--workers", "1")
        assert worked.returncode == 0, worked.stderr
        assert queue.result(id, timeout=5) == os.environ.get("GREETING", "unset")
