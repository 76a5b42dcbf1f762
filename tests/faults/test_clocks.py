"""A clock that somebody sets back, or forward, by an hour."""

from __future__ import annotations

import pytest

from .harness import World
from .journal import OK, START

HOUR_SECONDS = 3600

# A worker whose clock is as wrong as the file "offset" says.
WRONG = """
import sys, time
import jobs_for_faults
from jobs_for_faults import PREFETCH
from litequeue import Queue, Worker

def clock():
    try:
        with open("offset") as offset:
            return time.time() + float(offset.read() or 0)
    except FileNotFoundError:
        return time.time()

sys.exit(Worker(Queue("jobs.db", clock=clock), jobs_for_faults, prefetch=PREFETCH).run())
"""


def set_by(world: World, seconds: int) -> None:
    new = world.folder / "offset.new"
    new.write_text(str(seconds))
    new.rename(world.folder / "offset")


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_an_idle_worker_goes_on_when_its_clock_is_set(seconds: int, world: World) -> None:
    worker = world.script(WRONG)
    world.gone(world.push())
    set_by(world, seconds)
    ids = [world.push() for _ in range(3)]
    world.gone(*ids)
    set_by(world, 0)
    last = world.push()
    world.gone(last)
    assert world.started(last).pid == worker.pid


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_a_running_job_ends_well_when_the_clock_is_set(seconds: int, world: World) -> None:
    id = world.push("gate", keep=2 * HOUR_SECONDS)
    world.script(WRONG)
    world.started(id)
    set_by(world, seconds)
    world.open_gate(id)
    world.until(lambda: world.queue.get(id).state == "done")
    assert world.journal.names(id) == [START, OK]


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_no_clock_takes_a_job_from_a_worker_that_lives(seconds: int, world: World) -> None:
    id = world.push("gate")
    holder = world.work()
    world.started(id)
    other = world.script(WRONG)
    world.registered(2)
    set_by(world, seconds)
    late = world.push(delay=0 if seconds < 0 else 1.2)
    assert world.started(late).pid == other.pid
    world.gone(late)
    assert len(world.journal.of(id, START)) == 1
    world.open_gate(id)
    world.gone(id)
    assert world.started(id).pid == holder.pid


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_an_idle_worker_whose_clock_was_set_rescues_the_jobs_of_a_dead_worker(
    seconds: int, world: World
) -> None:
    id = world.push("gate", "ok")
    victim = world.work()
    world.started(id)
    other = world.script(WRONG)
    world.registered(2)
    set_by(world, seconds)
    victim.kill()
    assert world.started(id, times=2).pid == other.pid
    world.gone(id)


def test_a_busy_worker_whose_clock_was_set_back_rescues_the_jobs_of_a_dead_worker(
    world: World,
) -> None:
    id = world.push("gate", "ok", priority=1)
    victim = world.work()
    world.started(id)
    other = world.script(WRONG)
    world.gone(world.push())
    set_by(world, -HOUR_SECONDS)
    # From here on it always has something to do, and is never idle.
    world.queue.push_many([("scripted", {"seconds": 0.01})] * 500)
    victim.kill()
    assert world.started(id, times=2).pid == other.pid
    world.gone(id)
    assert world.queue.counts()


# A worker whose clock is as wrong, and that has a job which comes each second.
PERIODIC = (
    WRONG.replace("import jobs_for_faults\n", "")
    .replace("from jobs_for_faults import PREFETCH\n", "")
    .replace("jobs_for_faults, prefetch=PREFETCH", "[tick]")
    .replace(
        "from litequeue import Queue, Worker\n",
        """from litequeue import Queue, Worker, job

@job(name="tick", every=1)
def tick():
    print("tick", flush=True)
""",
    )
)


def test_what_comes_each_second_goes_on_when_the_clock_is_set_back(world: World) -> None:
    worker = world.script(PERIODIC)
    world.until(lambda: worker.out().count("tick") >= 2)
    set_by(world, -HOUR_SECONDS)
    before = worker.out().count("tick")
    # Those of the hour before would come in an hour.
    world.until(lambda: worker.out().count("tick") >= before + 3)
