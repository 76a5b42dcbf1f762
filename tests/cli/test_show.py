"""show: all of one job, and why it is not running."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest
from commands import Capture, claimed_by_dead_worker, claimed_here, failed, litequeue
from worker_side import edit

from litequeue import Queue

Write = Callable[[Mapping[str, str]], Path]


def shown(capsys: Capture) -> dict[str, object]:
    facts: dict[str, object] = json.loads(capsys.readouterr().out)
    return facts


def test_show_tells_all_of_a_failed_job(queue: Queue, capsys: Capture) -> None:
    id = failed(queue, "Traceback\n  File x\nValueError: no", {"max_attempts": 1, "timeout": 30})
    assert litequeue("show", "jobs.db", str(id)) == 0
    out = capsys.readouterr().out
    for line in ("state     failed", "attempts  1/1", 'options   {"timeout": 30}', "payload   {}"):
        assert line in out
    assert "exception\n  Traceback\n    File x\n  ValueError: no\n" in out
    assert "retries exhausted; run it again with `litequeue retry jobs.db 1`." in out


def test_show_as_json(queue: Queue, capsys: Capture) -> None:
    queue.push("send-mail", {"to": ["a", 1.5]}, keep=60)
    queue.store.executions.complete(claimed_here(queue), result='{"sent": true}', keep=60)
    assert litequeue("show", "jobs.db", "1", "--json") == 0
    facts = shown(capsys)
    assert facts["state"] == "done"
    assert facts["payload"] == {"to": ["a", 1.5]}
    assert facts["result"] == {"sent": True}
    assert facts["options"] == {"keep": 60}
    assert facts["cancelled_at"] is None
    finished = datetime.fromisoformat(str(facts["finished_at"]))
    assert finished.utcoffset() == timezone.utc.utcoffset(None)


def test_a_running_job_shows_its_worker_and_its_progress(queue: Queue, capsys: Capture) -> None:
    queue.push("send-mail")
    queue.store.executions.progress(claimed_here(queue), 3, 10)
    litequeue("show", "jobs.db", "1")
    out = capsys.readouterr().out
    assert f"worker    process {os.getpid()}" in out
    assert "progress  3/10" in out
    assert "Why" not in out


def ready(queue: Queue) -> None:
    queue.push("a")


def paused(queue: Queue) -> None:
    queue.push("a")
    queue.pause("default")


def served_elsewhere(queue: Queue) -> None:
    queue.push("a")
    queue.store.presence.register(("emails",))


def behind_others(queue: Queue) -> None:
    queue.push("a")
    queue.push_many([("first", {})] * 2, priority=1)
    queue.push("lower", priority=-1)
    queue.push("elsewhere", queue="emails", priority=9)
    queue.store.presence.register(())


def behind_one(queue: Queue) -> None:
    queue.push("a")
    queue.push("first", priority=1)
    queue.store.presence.register(())


def following(queue: Queue) -> None:
    queue.push("a")
    queue.store.presence.register(())


def scheduled(queue: Queue) -> None:
    queue.push("a", delay=3601)


def due_and_not_yet_promoted(queue: Queue) -> None:
    with Queue("jobs.db", clock=lambda: 1_000_000_000) as before:
        before.push("a", delay=60)


def retried_later(queue: Queue) -> None:
    queue.push("a")
    queue.store.executions.retry_later(claimed_here(queue), "ValueError: no", after=3601)


def cancelled(queue: Queue) -> None:
    queue.cancel(queue.push("a"))


def orphaned(queue: Queue) -> None:
    queue.push("a")
    claimed_by_dead_worker(queue)


def failed_at_once(queue: Queue) -> None:
    failed(queue, "Fail: never")


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        (ready, "no living worker serves queue default; start one with `litequeue work jobs.db`"),
        (served_elsewhere, "no living worker serves queue default; start one"),
        (paused, "queue default is paused; resume it with `litequeue resume jobs.db default`"),
        (behind_others, "2 jobs of its queue are ahead of it"),
        (behind_one, "1 job of its queue is ahead of it"),
        (following, "it is next in its queue, and runs as soon as a worker is free"),
        (scheduled, "it is due in 60 min"),
        (due_and_not_yet_promoted, "no living worker serves queue default"),
        (retried_later, "attempt 1 failed (ValueError: no), and the next one is due in 60 min"),
        (cancelled, "it was cancelled; run it again with `litequeue retry jobs.db 1`"),
        (orphaned, "its worker is dead"),
        (failed_at_once, "it failed permanently at attempt 1; run it again with `litequeue retry"),
    ],
)
def test_show_says_why_a_job_is_not_running(
    queue: Queue, capsys: Capture, arrange: Callable[[Queue], None], why: str
) -> None:
    arrange(queue)
    assert litequeue("show", "jobs.db", "1") == 0
    assert f"\nWhy it is not running: {why}" in capsys.readouterr().out


@pytest.mark.parametrize("payload", ["{broken", "NaN", "[1e999]", "[" * 5000])
def test_a_payload_that_is_no_json_is_shown_as_it_is(
    queue: Queue, capsys: Capture, payload: str
) -> None:
    queue.push("a")
    edit(queue, f"update litequeue_jobs set payload = '{payload}'")
    assert litequeue("show", "jobs.db", "1", "--json") == 0
    assert shown(capsys)["payload"] == payload
    assert litequeue("show", "jobs.db", "1") == 0
    assert f"payload   {payload}\n" in capsys.readouterr().out
