"""What comes from outside, a name, an error, a log line, a path, moves no cursor and forges no
line, whichever command writes it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, in_a_process, litequeue

from litequeue import Queue
from litequeue.cli.worker_output import PlainLine
from litequeue.jobs.log import JobLog
from litequeue.log import logger
from litequeue.messages import LONGEST_LINE, one_line, printable, printable_lines
from litequeue.worker.worker import Limits, Worker

Write = Callable[[Mapping[str, str]], Path]

EVIL = "\x1b[2J\rX\u202e\n✔ Job processed successfully: 99"
HARMLESS = r"\x1b[2J\rX\u202e\n✔ Job processed successfully: 99"

JOBS = f"""
import logging
from litequeue import Job, current

EVIL = {EVIL!r}

class Hurt(Job, max_attempts=1, name="hurt" + EVIL):
    def handle(self) -> None:
        logging.getLogger("shop").warning("seen: %s", EVIL)
        current().log.warning("seen too: " + EVIL)
        raise ValueError(EVIL.strip() + "x" * 5000)

class Gone(Job, max_attempts=1, on_failure="delete"):
    def handle(self) -> None:
        raise ValueError(EVIL)
"""
BROKEN = f"raise ValueError({EVIL!r})\n"


def harmless(capsys: Capture) -> str:
    """All that was written, which has no control sign and no forged line in it."""
    out, err = capsys.readouterr()
    text = out + err
    for line in text.split("\n"):
        assert line.expandtabs().isprintable(), repr(line)
    assert "\n✔ Job processed successfully: 99" not in f"\n{text}"
    return text


def test_a_worker_writes_names_errors_and_log_lines_harmlessly(
    application: Write, capsys: Capture
) -> None:
    application({"evil/__init__.py": "", "evil/hurt.py": JOBS, "evil/broken.py": BROKEN})
    with Queue("jobs.db") as queue:
        queue.push(f"hurt{EVIL}")
        queue.push("gone")
        queue.push(f"nobody{EVIL}", max_attempts=1)
    # In a process of its own: pytest has handlers on the root logger.
    ended = in_a_process("work", "jobs.db", "--drain", "-v", "--jobs", "evil")
    assert ended.returncode == 0
    print((ended.stdout + ended.stderr).decode(), end="")
    text = harmless(capsys)
    assert f"Job started: 1 (hurt{HARMLESS}, attempt 1/1)" in text
    assert f"seen: {HARMLESS}" in text
    assert f"job 1 (hurt{HARMLESS}): seen too: {HARMLESS}" in text
    assert "✖ Error dispatching job: 1 - \\x1b[2J\n" in text
    assert "ValueError: \\x1b[2J\\rX" in text
    assert max(map(len, text.split("\n"))) <= LONGEST_LINE


@pytest.mark.parametrize(
    "words",
    [
        ["status", "jobs.db"],
        ["list", "jobs.db"],
        ["show", "jobs.db", "1"],
        ["doctor", "jobs.db"],
        ["run", "jobs.db", f"none{EVIL}"],
        ["pause", "jobs.db", f"queue{EVIL}"],
        ["resume", "jobs.db", f"queue{EVIL}"],
        ["cancel", "jobs.db", "--name", f"none{EVIL}"],
        ["schedule", "jobs.db", "--run", f"none{EVIL}"],
        ["jobs", "--jobs", "evil"],
        ["status", f"none{EVIL}.db"],
        ["backup", "jobs.db", f"none{EVIL}/backup.db"],
        ["backup", "jobs.db", f"backup{EVIL.strip()[:8]}.db"],
        [f"command{EVIL}"],
        ["work", "jobs.db", f"--{EVIL}"],
        ["make-job", f"{EVIL}"],
    ],
    ids=lambda words: words[0].partition("\x1b")[0],
)
def test_no_command_writes_what_a_terminal_would_obey(
    application: Write, capsys: Capture, words: list[str]
) -> None:
    application({"evil/__init__.py": "", "evil/hurt.py": JOBS, "evil/broken.py": BROKEN})
    with Queue("jobs.db") as queue:
        queue.push(f"hurt{EVIL}", queue=f"queue{EVIL}")
        queue.push(f"child{EVIL}", after=[queue.push("gone", delay=60), 1])
    litequeue(*words)
    assert harmless(capsys)


def test_a_record_of_a_worker_in_an_application_is_one_line() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    try:
        logger.warning("job %d (%s): %s", 7, f"name{EVIL}", ValueError(EVIL * 100))
    finally:
        logger.removeHandler(handler)
    (line,) = written.getvalue().splitlines()
    assert line.isprintable()
    assert line.startswith(f"job 7 (name{HARMLESS}): ")
    assert len(line) < LONGEST_LINE + 200


def test_the_name_before_what_a_job_logs_is_printable(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue()
    row = queue.get(queue.push(f"name{EVIL}"))
    message, _ = JobLog(row).process("done", {})
    assert message == f"job 1 (name{HARMLESS}): done"


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        trace = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("shop", logging.ERROR, __file__, 1, "it %s", ("broke",), trace)
    lines = PlainLine().format(record).split("\n")
    assert lines[:2] == ["it broke", "Traceback (most recent call last):"]
    assert all(line.startswith("  ") for line in lines[2:])
    assert all(line.isprintable() for line in lines)


def test_a_line_is_cut_where_it_is_long() -> None:
    assert one_line("x" * LONGEST_LINE * 2) == "x" * (LONGEST_LINE - 1) + "…"
    assert len(one_line("\n" * LONGEST_LINE)) == LONGEST_LINE
    assert one_line("short") == "short"
    assert printable("ü ✔") == "ü ✔"
    assert printable_lines("a\tb\n\x1b") == "a       b\n\\x1b"


def test_a_worker_in_the_background_logs_harmlessly(
    make_queue: Callable[..., Queue], application: Write, caplog: pytest.LogCaptureFixture
) -> None:
    application({"evil_jobs.py": JOBS})
    queue = make_queue()
    queue.push(f"hurt{EVIL}")
    Worker(queue, "evil_jobs", limits=Limits(drain=True)).run()
    ours = [record for record in caplog.records if record.name == "litequeue"]
    assert any("hurt" in record.getMessage() for record in ours)
    assert all(record.getMessage().isprintable() for record in ours)
