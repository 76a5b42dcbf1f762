"""status and show: flows, batches, keys and the schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, claimed_here, failed, litequeue
from worker_side import claim_one

from litequeue import Batch, Job, JobRow, Queue, State
from litequeue.monitor import status as overview
from litequeue.worker.periodic import Schedules

Write = Callable[[Mapping[str, str]], Path]


class Report(Job):
    def handle(self) -> None: ...


class Nightly(Job, cron="0 2 * * *"):
    def handle(self) -> None: ...


class Refresh(Batch):
    def plan(self, cursor: object) -> tuple[list[Job], object]:
        raise AssertionError("it is planned by hand")


def shown(capsys: Capture, id: int) -> str:
    assert litequeue("show", "jobs.db", str(id)) == 0
    return capsys.readouterr().out


def facts(capsys: Capture, *arguments: str) -> dict[str, object]:
    assert litequeue(*arguments, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def status(capsys: Capture) -> str:
    assert litequeue("status", "jobs.db") == 0
    return capsys.readouterr().out


def end(queue: Queue, id: int, exception: str | None = None) -> JobRow:
    """Run a job, to its success or with an exception."""
    row = queue.store.claims.claim_job(queue.store.presence.register(()).worker, id)
    assert row is not None
    if exception is None:
        queue.store.executions.complete(row)
    else:
        queue.store.executions.fail(row, exception)
    return row


# Parents and children


def test_a_waiting_job_names_each_parent_with_its_state(queue: Queue, capsys: Capture) -> None:
    done, running, ready = queue.push("a"), queue.push("b"), queue.push("c")
    wrong = failed(queue, "Traceback\nLookupError: no price")
    child = queue.push("e", after=[done, running, ready, wrong])
    end(queue, done)
    queue.store.claims.claim_job(queue.store.presence.register(()).worker, running)
    out = shown(capsys, child)
    retry = "failed (LookupError: no price); run it again with `litequeue retry jobs.db 4`"
    assert f"after     {done}, which is done\n" in out
    assert f"          {running} (b), which is running\n" in out
    assert f"          {ready} (c), which is ready\n" in out
    assert f"          {wrong} (send-mail), which {retry}\n" in out
    # The one that will not come by itself is named first.
    assert f"Why it is not running: it waits for {wrong} (send-mail), which {retry}; 2 (b)" in out


def test_the_parents_and_children_as_json(queue: Queue, capsys: Capture) -> None:
    wrong = failed(queue, "LookupError: no price")
    child = queue.push("b", after=[wrong])
    assert facts(capsys, "show", "jobs.db", str(child))["parents"] == [
        {"id": wrong, "name": "send-mail", "state": "failed", "reason": "LookupError: no price"}
    ]
    assert facts(capsys, "show", "jobs.db", str(wrong))["children"] == [{"id": child, "name": "b"}]


def test_a_job_names_those_that_wait_for_it(queue: Queue, capsys: Capture) -> None:
    parent = queue.push("a")
    for _ in range(2):
        queue.push("b", after=[parent])
    out = shown(capsys, parent)
    assert "before    2 (b), which waits\n          3 (b), which waits\n" in out


def test_many_parents_are_cut_short(queue: Queue, capsys: Capture) -> None:
    child = queue.push("b", after=queue.push_many([("a", {})] * 30))
    out = shown(capsys, child)
    assert out.count("which is ready") == overview.LINES + overview.NAMED_PARENTS
    assert "          and 10 more\n" in out
    assert "; and 27 jobs more." in out
    parents = facts(capsys, "show", "jobs.db", str(child))["parents"]
    assert isinstance(parents, list)
    assert len(parents) == 30


def test_status_names_the_failed_job_that_others_wait_for(queue: Queue, capsys: Capture) -> None:
    wrong = failed(queue, "LookupError: no price")
    second = queue.push("b", after=[wrong])
    queue.push("c", after=[second, queue.push("x")])
    sentence = (
        "2 jobs wait for 1 (send-mail), which failed (LookupError: no price); "
        "run it again with `litequeue retry jobs.db 1`"
    )
    assert sentence in status(capsys)
    (told,) = facts(capsys, "status", "jobs.db")["stuck"]  # type: ignore[misc, attr-defined]
    assert (told["id"], told["name"], told["waiting"]) == (wrong, "send-mail", 2)
    queue.retry(wrong)
    assert "wait for" not in status(capsys)


def test_one_job_that_waits_for_a_failed_one_is_told_in_the_singular(
    queue: Queue, capsys: Capture
) -> None:
    queue.push("b", after=[failed(queue, "ValueError: no")])
    assert "1 job waits for 1 (send-mail)" in status(capsys)


# Batches


def a_batch(queue: Queue, count: int) -> tuple[int, list[int]]:
    with queue.batch(then=Report()) as batch:
        for _ in range(count):
            batch.push("part")
    assert batch.id is not None
    return batch.id, batch.ids


def test_status_tells_how_far_the_open_batches_are(queue: Queue, capsys: Capture) -> None:
    id, parts = a_batch(queue, 4)
    end(queue, parts[0])
    end(queue, parts[1], "ValueError: no")
    line = rf"Batch {id} \(Report\): planned 4, done 1, failed 1, 50 %, [\d.]+ a second, \d+ s left"
    assert re.search(line, status(capsys))
    (told,) = facts(capsys, "status", "jobs.db")["batches"]  # type: ignore[misc, attr-defined]
    assert (told["planned"], told["done"], told["failed"]) == (4, 1, 1)
    assert (told["percent"], told["planning"]) == (50.0, False)
    for part in parts[2:]:
        end(queue, part)
    assert "Batch" not in status(capsys)


def test_a_batch_that_is_still_planned_says_so(queue: Queue, capsys: Capture) -> None:
    queue.push(Refresh())
    queue.store.batch_inserts.plan(claimed_here(queue), [("part", {})], 1)
    assert "Batch 1 (Refresh): planned 1 so far, done 0, failed 0, 0 %" in status(capsys)


def test_a_cancelled_batch_is_not_open(queue: Queue, capsys: Capture) -> None:
    queue.cancel_batch(a_batch(queue, 2)[0])
    assert "Batch" not in status(capsys)


def test_what_follows_a_batch_shows_how_far_that_is(queue: Queue, capsys: Capture) -> None:
    id, parts = a_batch(queue, 2)
    end(queue, parts[0])
    progress = "planned 2, done 1, failed 0, 50 %"
    assert f"Why it is not running: it waits for its batch to finish: {progress}" in shown(
        capsys, id
    )
    assert f"batch     {id} (Report): {progress}" in shown(capsys, parts[1])
    told = facts(capsys, "show", "jobs.db", str(parts[1]))
    assert told["batch"] == id
    assert told["progress_of_batch"]["percent"] == 50.0  # type: ignore[index]


def test_cancelled_members_are_told_of_where_there_are_any(queue: Queue, capsys: Capture) -> None:
    id, parts = a_batch(queue, 2)
    queue.cancel(parts[0])
    assert "failed 0, cancelled 1, 50 %" in shown(capsys, id)


# Keys


def test_a_job_shows_its_keys(queue: Queue, capsys: Capture) -> None:
    id = queue.push("a", unique="cart 7", without_overlapping="printer", concurrency=2)
    out = shown(capsys, id)
    assert "unique    cart 7\n" in out
    assert "overlap   printer, 2 at once\n" in out
    told = facts(capsys, "show", "jobs.db", str(id))
    assert (told["unique_key"], told["overlap_key"], told["overlap_limit"]) == (
        "cart 7", "printer", 2,
    )  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2])
def test_a_blocked_job_says_how_many_of_its_key_run(
    queue: Queue, capsys: Capture, limit: int
) -> None:
    ids = [queue.push("a", without_overlapping="printer", concurrency=limit) for _ in range(4)]
    for _ in range(limit):
        claimed_here(queue)
    why = (
        f"the concurrency limit of key printer is reached ({limit} of {limit} running); "
        f"it runs when one of them ends."
    )
    # Before a worker has tried to claim it, and after.
    assert why in shown(capsys, ids[-1])
    assert claim_one(queue, queue.store.presence.register(()).worker) is None
    assert queue.get(ids[-1]).state is State.READY
    assert why in shown(capsys, ids[-1])


def test_a_job_whose_key_is_free_waits_for_nothing_else(queue: Queue, capsys: Capture) -> None:
    id = queue.push("a", without_overlapping="printer")
    queue.store.presence.register(())
    assert "it is next in its queue" in shown(capsys, id)


# The schedules


def test_status_names_the_periodic_job_that_is_next(queue: Queue, capsys: Capture) -> None:
    schedules = Schedules(queue.store)
    schedules.enter(Nightly)
    line = r"Next periodic: Nightly \(at 02:00 every day\) in \d+ (h|min|s)"
    assert re.search(line, status(capsys))
    told = facts(capsys, "status", "jobs.db")["next_periodic"]
    assert isinstance(told, dict)
    assert (told["name"], told["expression"]) == ("Nightly", "cron 0 2 * * *")
    schedules.pause("Nightly")
    assert "Next periodic" not in status(capsys)
    assert facts(capsys, "status", "jobs.db")["next_periodic"] is None


# Plans


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (overview.PARENTS, "PRIMARY KEY"),
        (overview.CHILDREN, "litequeue_unmet"),
        (overview.STUCK, "litequeue_unmet"),
        (overview.RUNNING_OF_KEY, "litequeue_"),
        (overview.ASKED_TO_STOP, "litequeue_members"),
    ],
)
def test_each_view_of_a_flow_reads_by_an_index(queue: Queue, sql: str, index: str) -> None:
    values = {"id": 1, "key": "a"}
    plan = [str(step) for *_, step in queue.store.database.rows("explain query plan" + sql, values)]
    assert any(index in step for step in plan), plan
    walks = [step for step in plan if step.startswith("SCAN") and "INDEX" not in step]
    assert not [step for step in walks if "job" in step or "edge" in step], plan
