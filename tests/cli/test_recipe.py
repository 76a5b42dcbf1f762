"""The command recipe: what it prints, and what it refuses."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path

import pytest
from commands import Capture, complaint, litequeue

USER = pwd.getpwuid(os.geteuid()).pw_name
PYTHON = shlex.quote(sys.executable)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder ``shop``, and an environment that says nothing."""
    for name in ("LITEQUEUE_DB", "LITEQUEUE_JOBS", "LITEQUEUE_QUEUE", "LITEQUEUE_MAX_ATTEMPTS"):
        # First set: what a command sets is then taken back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def recipe(capsys: Capture, *words: str) -> str:
    """What the command prints, which is all that it does."""
    before = sorted(Path.cwd().iterdir())
    assert litequeue("recipe", *words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert sorted(Path.cwd().iterdir()) == before
    return out


def values(text: str, key: str) -> list[str]:
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(f"{key}=")]


# systemd


def test_systemd_has_one_service_for_all_queues(shop: Path, capsys: Capture) -> None:
    unit = recipe(capsys, "systemd", "jobs.db")
    assert unit.startswith("# /etc/systemd/system/litequeue-shop.service\n")
    assert values(unit, "ExecStart") == [
        f"{sys.executable} -m litequeue work {shop}/jobs.db --workers 1 --grace 8"
    ]
    assert values(unit, "WorkingDirectory") == [str(shop)]
    assert values(unit, "User") == [USER]
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "KillMode") == ["mixed"]
    assert values(unit, "Type") == ["exec"]


def test_systemd_has_a_service_for_each_queue(shop: Path, capsys: Capture) -> None:
    queues = ("--queue", "high:2", "--queue", "default:4", "--queue", "low")
    units = recipe(capsys, "systemd", "jobs.db", *queues)
    files = [line for line in units.splitlines() if line.startswith("# /etc/")]
    assert files == [
        f"# /etc/systemd/system/litequeue-shop-{name}.service"
        for name in ("high", "default", "low")
    ]
    work = f"{sys.executable} -m litequeue work {shop}/jobs.db"
    assert values(units, "ExecStart") == [
        f"{work} --queue high --workers 2 --grace 8",
        f"{work} --queue default --workers 4 --grace 8",
        f"{work} --queue low --workers 1 --grace 8",
    ]


@pytest.mark.parametrize(("grace", "stop"), [("10", 20), ("8", 18), ("0.5", 11), ("5m", 310)])
def test_both_managers_wait_longer_than_the_grace(
    shop: Path, capsys: Capture, grace: str, stop: int
) -> None:
    unit = recipe(capsys, "systemd", "jobs.db", "--grace", grace)
    assert values(unit, "TimeoutStopSec") == [str(stop)]
    program = recipe(capsys, "supervisor", "jobs.db", "--grace", grace)
    assert values(program, "stopwaitsecs") == [str(stop)]


def test_what_systemd_would_read_into_a_path_is_quoted(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    odd = shop / 'my "app" 100%'
    odd.mkdir()
    monkeypatch.chdir(odd)
    unit = recipe(capsys, "systemd", "a$b.db", "--queue", "50% off")
    (command,) = values(unit, "ExecStart")
    assert command.startswith(f":{sys.executable} ")
    assert rf'"{shop}/my \"app\" 100%%/a$b.db"' in command
    assert '--queue "50%% off"' in command
    assert values(unit, "WorkingDirectory") == [f'{shop}/my "app" 100%%']
    assert "litequeue-my-app-100-a-b-50-off.service" in unit


def test_a_queue_below_etc_or_usr_is_not_made_read_only(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert "ProtectSystem=full" in recipe(capsys, "systemd", "jobs.db")
    assert "Protect" not in recipe(capsys, "systemd", "/usr/local/app/jobs.db")
    assert "Protect" not in recipe(capsys, "systemd", "/etc/jobs.db")


# supervisor


def test_supervisor_has_a_program_for_each_queue(shop: Path, capsys: Capture) -> None:
    programs = recipe(capsys, "supervisor", "jobs.db", "--queue", "high:2", "--queue", "low")
    assert "[program:litequeue-shop-high]" in programs
    assert "[program:litequeue-shop-low]" in programs
    assert values(programs, "command")[0] == (
        f"{PYTHON} -m litequeue work {shop}/jobs.db --queue high --workers 2 --grace 8"
    )
    assert values(programs, "directory") == [str(shop)] * 2
    assert values(programs, "user") == [USER] * 2
    assert values(programs, "stopsignal") == ["TERM"] * 2
    assert values(programs, "stopasgroup") == ["false"] * 2


def test_a_folder_that_supervisor_would_take_for_a_comment_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (shop / "app #2").mkdir()
    monkeypatch.chdir(shop / "app #2")
    assert litequeue("recipe", "supervisor", "jobs.db") == 2
    assert "for a comment" in complaint(capsys)
    assert "app #2" in recipe(capsys, "systemd", "jobs.db")


# cron


def test_cron_has_a_line_for_each_queue(shop: Path, capsys: Capture) -> None:
    table = recipe(capsys, "cron", "jobs.db", "--queue", "high:2", "--queue", "low")
    lines = [line for line in table.splitlines() if not line.startswith("#")]
    work = f"* * * * * cd {shop} && {PYTHON} -m litequeue work {shop}/jobs.db"
    limits = "--drain --max-time 50 --single-id"
    assert lines == [
        f"{work} --queue high {limits} high --workers 2 --quiet",
        f"{work} --queue low {limits} low --quiet",
    ]


def test_cron_gets_no_percent_sign_unescaped(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    odd = shop / "it's 100%"
    odd.mkdir()
    monkeypatch.chdir(odd)
    line = recipe(capsys, "cron", "jobs.db").splitlines()[-1]
    assert line.count("%") == line.count(r"\%") == 2
    assert shlex.split(line)[6] == str(odd)


# What all of them share


def test_what_was_said_here_is_said_to_the_workers(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "data.db")
    monkeypatch.setenv("LITEQUEUE_JOBS", "shop.jobs, shop.more")
    monkeypatch.setenv("LITEQUEUE_QUEUE", "high,default")
    monkeypatch.setenv("LITEQUEUE_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("PYTHONPATH", "lib")
    unit = recipe(capsys, "systemd")
    (command,) = values(unit, "ExecStart")
    assert command == (
        f"{sys.executable} -m litequeue work {shop}/data.db --queue high,default --workers 1 "
        "--grace 8 --jobs shop.jobs --jobs shop.more --retries 5"
    )
    assert values(unit, "Environment") == [f"PYTHONUNBUFFERED=1 PYTHONPATH={shop}/lib"]
    assert f"PYTHONPATH={shop}/lib {PYTHON}" in recipe(capsys, "cron")


def test_what_the_file_of_variables_says_stays_there(shop: Path, capsys: Capture) -> None:
    Path("app.env").write_text("LITEQUEUE_JOBS=shop.jobs\nLITEQUEUE_QUEUE=a\nLITEQUEUE_DB=my.db\n")
    unit = recipe(capsys, "systemd", "--env-file", "app.env", "--queue", "a:3")
    (command,) = values(unit, "ExecStart")
    assert command == (
        f"{sys.executable} -m litequeue work {shop}/my.db --queue a --workers 3 --grace 8 "
        f"--env-file {shop}/app.env"
    )


@pytest.mark.parametrize(
    ("text", "queues", "workers"),
    [
        ("high", "high", 1),
        ("high:12", "high", 12),
        ("mail:bulk:2", "mail:bulk", 2),
        ("high,default:2", "high,default", 2),
        ("-odd:2", "-odd", 2),
        (" a , b :2", "a,b", 2),
    ],
)
def test_a_queue_and_its_workers_may_be_written(
    shop: Path, capsys: Capture, text: str, queues: str, workers: int
) -> None:
    (command,) = values(recipe(capsys, "systemd", "jobs.db", f"--queue={text}"), "ExecStart")
    given = f"--queue={queues}" if queues.startswith("-") else f"--queue {queues}"
    assert f" {given} --workers {workers} " in command


@pytest.mark.parametrize(
    "text", ["", ":2", "high:", "high:0", "high:two", "high:-1", "a,,b", "a\nb"]
)
def test_a_queue_that_cannot_be_is_refused(shop: Path, capsys: Capture, text: str) -> None:
    assert litequeue("recipe", "systemd", "jobs.db", "--queue", text) == 2
    assert "is not NAME, or NAME:WORKERS" in complaint(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("upstart jobs.db", "invalid choice"),
        ("", "required"),
        ("systemd", "no database is named"),
        ("systemd .", "is a folder"),
        ("systemd jobs.db --queue a --queue a:2", "--queue a is given twice"),
        ("systemd jobs.db --into nowhere", "nowhere/litequeue-shop.service cannot be written"),
        ("systemd jobs.db --env-file none", "none: cannot be read"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    shop: Path, capsys: Capture, words: str, expected: str
) -> None:
    assert litequeue("recipe", *words.split()) == 2
    assert expected in complaint(capsys)


def test_a_number_of_attempts_that_cannot_be_is_not_passed_on(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LITEQUEUE_MAX_ATTEMPTS", "many")
    assert litequeue("recipe", "cron", "jobs.db") == 2
    assert "LITEQUEUE_MAX_ATTEMPTS: max_attempts must be" in complaint(capsys)


@pytest.mark.parametrize("name", ["two\nlines", "end\\", "end ", "\udcff"])
@pytest.mark.parametrize("kind", ["systemd", "supervisor", "cron"])
def test_a_path_that_no_line_can_hold_is_refused(
    shop: Path, capsys: Capture, kind: str, name: str
) -> None:
    assert litequeue("recipe", kind, f"./{name}") == 2
    assert "no service file can hold" in complaint(capsys)


def test_queues_whose_names_look_alike_have_units_of_their_own(shop: Path, capsys: Capture) -> None:
    names = ("a!", "a?", "a", "!")
    units = recipe(capsys, "systemd", "jobs.db", *(f"--queue={name}" for name in names))
    files = {line for line in units.splitlines() if line.startswith("# /etc/")}
    assert len(files) == 4


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("systemd", ["litequeue-shop-a.service", "litequeue-shop-b.service"]),
        ("supervisor", ["litequeue-shop.conf"]),
        ("cron", ["litequeue-shop.crontab"]),
    ],
)
def test_into_writes_the_files_that_are_printed_otherwise(
    shop: Path, capsys: Capture, kind: str, names: list[str]
) -> None:
    words = ("recipe", kind, "jobs.db", "--queue", "a", "--queue", "b:2")
    assert litequeue(*words) == 0
    printed = capsys.readouterr().out
    assert litequeue(*words, "--into", ".") == 0
    assert capsys.readouterr().out.split() == names
    assert "\n".join(Path(name).read_text() for name in names) == printed
    assert litequeue(*words, "--into", ".") == 2
    assert complaint(capsys).endswith(f"{names[0]} cannot be written: File exists\n")


def test_a_user_without_a_name_is_its_number(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # A number that no system gives a name to.
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    assert values(recipe(capsys, "systemd", "jobs.db"), "User") == ["3999999999"]
