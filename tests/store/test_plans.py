"""The hot statements use their index, and cost the same however long the queue is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from metering import CLAIM_ANY, CLAIM_FROM, COMPLETE, IDLE, NEXT, WORKER, Meter
from waiting import Clock
from worker_side import claimed

from litequeue.engine.database import PAGE_BYTES
from litequeue.engine.presence import Presence
from litequeue.queue import Queue
from litequeue.records import COLUMNS, State
from litequeue.store.admin import Admin
from litequeue.store.claim import Claims
from litequeue.store.concurrency import Slots
from litequeue.store.finish import Executions
from litequeue.store.lookup import Lookups

READY, TIMER = "litequeue_ready", "litequeue_timer"
STATES = "litequeue_states"
RUNNING, EXPIRY = "litequeue_running", "litequeue_expiry"
KEY = "INTEGER PRIMARY KEY"

ENDS = ("DELETE_RUN", "COMPLETE", "FAIL", "RETRY_LATER", "RELEASE", "CANCEL_RUN", "PROGRESS")
INDEXES = {
    "FIRST_FROM": READY,
    "HEAD": READY,
    "NEXT_QUEUE": READY,
    "CLAIM_FROM": READY,
    "CLAIM_ONE": KEY,
    "PROMOTE": TIMER,
    "NEXT_DUE": TIMER,
    "RUNNING": RUNNING,
    "EXPIRED": EXPIRY,
    "EXPIRE": EXPIRY,
    "WANTED": KEY,
    **dict.fromkeys(ENDS, KEY),
}


def statement_of(name: str) -> str:
    """The text of a statement, from the one component that has it."""
    (found,) = (vars(each)[name] for each in (Claims, Executions, Admin) if name in vars(each))
    return str(found)


def plan(queue: Queue, sql: str) -> list[str]:
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    rows = queue.store.database.rows(f"explain query plan {sql}", parameters)
    return [detail for *_, detail in rows]


@pytest.mark.parametrize(("statement", "index"), INDEXES.items())
def test_a_hot_statement_searches_by_its_index(
    make_queue: Callable[..., Queue], statement: str, index: str
) -> None:
    steps = plan(make_queue(), statement_of(statement))
    assert any(f"SEARCH litequeue_jobs USING {cover}{index}" in step.replace("INDEX ", "")
               for step in steps for cover in ("", "COVERING ")), steps  # fmt: skip
    assert not [step for step in steps if "SCAN litequeue_jobs" in step]


@pytest.mark.parametrize("statement", ["FIRST_FROM", "HEAD", "NEXT_QUEUE", "CLAIM_FROM"])
def test_a_claim_names_the_ready_index_only(
    make_queue: Callable[..., Queue], statement: str
) -> None:
    named = {
        name
        for step in plan(make_queue(), statement_of(statement))
        for name in re.findall(r"INDEX (litequeue_\w+)", step)
    }
    assert named == {READY}


def test_counting_walks_over_no_rows(make_queue: Callable[..., Queue]) -> None:
    steps = [step for step in plan(make_queue(), Lookups.COUNTS) if "litequeue_jobs" in step]
    assert {name for step in steps for name in re.findall(r"INDEX (litequeue_\w+)", step)} == {
        *(READY, RUNNING, STATES)
    }
    assert all("INDEX" in step for step in steps)


def test_the_list_of_workers_finds_orphans_by_the_running_index(
    make_queue: Callable[..., Queue],
) -> None:
    steps = " ".join(plan(make_queue(), Presence.LISTED))
    assert f"USING COVERING INDEX {RUNNING}" in steps or f"USING INDEX {RUNNING}" in steps


@pytest.mark.parametrize("statement", ["TAKEN", "BLOCK", "BLOCKED", "UNBLOCK"])
def test_the_jobs_of_a_key_are_found_by_its_index_and_in_its_order(
    make_queue: Callable[..., Queue], statement: str
) -> None:
    steps = plan(make_queue(), getattr(Slots, statement))
    assert any("litequeue_keyed (overlap_key=? AND state=?" in step for step in steps), steps
    assert not [step for step in steps if "SCAN litequeue" in step or "TEMP B-TREE" in step]


def test_the_job_that_has_a_unique_key_is_found_by_the_unique_index(
    make_queue: Callable[..., Queue],
) -> None:
    (step,) = plan(make_queue(), Lookups.CONFLICTING)
    assert "USING INDEX litequeue_unique (unique_key=?)" in step.replace("COVERING ", "")


# Steps of SQLite's virtual machine: exact, where times are not.


SMALL = "1 000 of each"
SCENES = ("300 000 ready", "300 000 scheduled too", "300 000 finished too")


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, int]]]:
    """What each act costs in a file that grows, scene by scene."""
    path = tmp_path_factory.mktemp("plans") / "jobs.db"
    with Queue(path, clock=Clock()) as queue:
        meter = Meter(queue)
        meter.fill(1_000, State.READY)
        meter.fill(1_000, State.SCHEDULED, due=3600, priority=9)
        meter.fill(1_000, State.CANCELLED, priority=9)
        meter.measure(SMALL)
        meter.fill(299_000, State.READY)
        meter.measure(SCENES[0])
        # Of a better priority than what is ready: an index in the wrong order meets them.
        meter.fill(299_000, State.SCHEDULED, due=3600, priority=9)
        meter.measure(SCENES[1])
        meter.fill(299_000, State.CANCELLED, priority=9)
        meter.measure(SCENES[2])
        yield meter.costs


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("act", [CLAIM_FROM, CLAIM_ANY, IDLE, COMPLETE, NEXT])
def test_an_act_costs_the_same_however_many_rows_there_are(
    costs: dict[str, dict[str, int]], act: str, scene: str
) -> None:
    assert 0 < costs[scene][act] <= 1.2 * costs[SMALL][act]


def test_columns_that_a_claim_changes_stand_before_the_payload(
    make_queue: Callable[..., Queue],
) -> None:
    rows = make_queue().store.database.rows("pragma table_info(litequeue_jobs)")
    names = [name for _, name, *_ in rows]
    # What comes behind it is null in nearly all rows, and takes no room.
    behind = ["unknown_since", "deadline_at", "rate_key", "rate_since"]
    assert names[names.index("payload") + 1 :] == behind
    assert set(COLUMNS.split(", ")) <= set(names)


def test_a_claim_of_a_large_job_writes_few_pages(
    make_queue: Callable[..., Queue], tmp_path: Path
) -> None:
    queue = make_queue()
    queue.push("a", {"text": "x" * 100_000}, max_attempts=3)
    queue.store.database.checkpoint()
    claimed(queue, WORKER)
    # A frame of the WAL is a page and a head of 24 bytes.
    frames = (tmp_path / "jobs.db-wal").stat().st_size // (PAGE_BYTES + 24)
    assert frames < 15
