"""The FIFOs of many workers: what is left of them, and what they cost a producer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .harness import World

TENANTS = 12
FEW_DESCRIPTORS = """
import os, resource, sys
from litequeue import Queue
from litequeue.errors import CannotOpen
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    for descriptor in held[: int(sys.argv[1])]:
        os.close(descriptor)
try:
    Queue("jobs.db")
except CannotOpen as error:
    print(error)
"""


def fifos(world: World) -> list[str]:
    folder = Path(f"{world.path}-workers")
    return sorted(name for name in os.listdir(folder) if name.startswith("wake-"))


def test_workers_of_many_lists_that_have_ended_leave_no_fifo(world: World) -> None:
    ids = [world.push(queue=f"tenant-{number}") for number in range(TENANTS)]
    workers = [
        world.work("--queue", f"tenant-{number},shared", "--drain") for number in range(TENANTS)
    ]
    for worker in workers:
        worker.ends_with(0)
    world.gone(*ids)
    assert fifos(world) == []


def test_the_fifo_of_a_killed_worker_is_removed_when_its_jobs_are_rescued(world: World) -> None:
    id = world.push("gate", "ok", queue="mail")
    victim = world.work("--queue", "mail")
    world.started(id)
    assert fifos(world) == ["wake-for-mail"]
    victim.kill()
    assert fifos(world) == ["wake-for-mail"]
    worker = world.work("--queue", "other")
    world.until(lambda: fifos(world) == ["wake-for-other"])
    assert world.registered(1) == [worker.pid]
    world.work("--queue", "mail", "--drain").ends_with(0)
    world.gone(id)


def test_a_worker_that_shares_a_queue_takes_what_the_other_does_not(world: World) -> None:
    # Both sleep for an hour: only a byte wakes them, and both bytes may go to the first.
    world.work("--queue", "high,low", "--sleep", 3600)
    world.work("--queue", "low", "--sleep", 3600)
    world.registered(2)
    world.until(lambda: len(fifos(world)) == 2)
    high, low = world.push("gate", queue="high"), world.push("gate", queue="low")
    started = [world.started(high), world.started(low)]
    assert started[0].pid != started[1].pid
    for id in (high, low):
        world.open_gate(id)
    world.gone(high, low)


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_descriptors_that_are_used_up_are_named_as_such(world: World, spare: int) -> None:
    script = world.start("-c", FEW_DESCRIPTORS, spare)
    script.ends_with(0)
    assert "reached its limit of open files" in script.out()
    assert "ulimit -n" in script.out()
