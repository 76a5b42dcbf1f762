"""Running the commands in tests, and bringing rows into the states that they tell of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from worker_side import claimed

from litequeue import JobRow, Queue
from litequeue.cli.main import main
from litequeue.options import Options

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
Capture = pytest.CaptureFixture[str]


def litequeue(*arguments: str) -> int:
    """Run a command here and return its exit status."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def in_a_process(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own, in the current folder."""
    command = [sys.executable, "-m", "litequeue", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=ENVIRONMENT, timeout=30)


def complaint(capsys: Capture) -> str:
    """What the command said, where that was one line on standard error and no more."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def claimed_here(queue: Queue) -> JobRow:
    """Claim the next job for a worker that lives as long as this process."""
    return claimed(queue, queue.store.presence.register(()).worker)


def claimed_by_dead_worker(queue: Queue) -> JobRow:
    """Claim the next job for a worker that dies with it."""
    registration = queue.store.presence.register(())
    row = claimed(queue, registration.worker)
    registration.close()
    return row


def failed(queue: Queue, exception: str, options: Options | None = None) -> int:
    """Push a job, let its first run fail for good, and return its id."""
    id = queue.push("send-mail", **(options or {}))
    registration = queue.store.presence.register(())
    row = queue.store.claims.claim_job(registration.worker, id)
    assert row is not None
    queue.store.executions.fail(row, exception)
    queue.store.presence.deregister(registration.worker)
    registration.leave()
    return id
