"""A job whose time is over at the moment at which it ends, in a real worker process."""

from __future__ import annotations

import pytest

from .harness import World

# Each job ends within 0.3 ms of its limit, before or after.
RACE = """
import time
from random import uniform
from litequeue import Job

LIMIT_SECONDS = 0.002

class Race(Job, timeout=LIMIT_SECONDS, max_attempts=1, on_failure="keep"):
    def handle(self):
        until = time.perf_counter() + LIMIT_SECONDS + uniform(-0.0003, 0.0003)
        while time.perf_counter() < until:
            pass

class RaceAsync(Job, timeout=LIMIT_SECONDS, max_attempts=1, on_failure="keep"):
    async def handle(self):
        import asyncio
        await asyncio.sleep(LIMIT_SECONDS + uniform(-0.0003, 0.0003))

class Hang(Job, timeout=0.2, max_attempts=1):
    def handle(self):
        while True:
            time.sleep(0.01)
"""

# The time is over in the n-th step of the worker's own that comes after the job's last.
STEPS = """
import signal, sys, time
from litequeue import Job, current

class Steps(Job, timeout=0.05, max_attempts=1, on_failure="keep"):
    n: int

    def handle(self):
        left = self.n
        own = sys._getframe()

        def step(frame, event, arg):
            nonlocal left
            code = frame.f_code
            if frame is own or code.co_name == "run_job" or "litequeue" not in code.co_filename:
                return
            if "database" in frame.f_code.co_filename:
                sys.setprofile(None)
            elif left == 0:
                sys.setprofile(None)
                time.sleep(0.1)
            left -= 1

        sys.setprofile(step)

class Hang(Job, timeout=0.2, max_attempts=1):
    def handle(self):
        while True:
            time.sleep(0.01)
"""

THREAD = """
import race
from litequeue import Queue, Worker
from litequeue.worker.worker import Limits

with Worker(Queue("jobs.db"), race, limits=Limits(drain=True)).in_background() as worker:
    worker.queue.wait(501, timeout=60)
print("alive to the end")
"""


def raced(world: World, name: str, jobs: int) -> None:
    (world.folder / "race.py").write_text(RACE)
    for _ in range(jobs):
        world.queue.push(name)
    world.queue.push("hang")


def all_ended(world: World, hanging: int = 1) -> None:
    rows = world.queue.find(limit=10_000)
    assert {str(row.state) for row in rows} <= {"failed"}, {str(row.state) for row in rows}
    assert all("timeout of" in row.reason or "its timeout" in row.reason for row in rows)
    assert sum(row.name.casefold() == "hang" for row in rows) == hanging


@pytest.mark.parametrize(("name", "jobs"), [("race", 1500), ("race-async", 200)])
def test_a_job_that_ends_at_its_limit_ends_no_worker(name: str, jobs: int, world: World) -> None:
    raced(world, name, jobs)
    world.work("--jobs", "race", "--drain").ends_with(0, within=120)
    all_ended(world)


def test_neither_does_one_in_a_thread(world: World) -> None:
    raced(world, "race", 500)
    program = world.script(THREAD)
    program.ends_with(0, within=120)
    assert "alive to the end" in program.out()
    assert "Exception in thread" not in program.err()
    all_ended(world)


def test_a_job_whose_time_is_over_when_it_has_returned_has_succeeded(world: World) -> None:
    (world.folder / "steps.py").write_text(STEPS)
    for n in range(24):
        world.queue.push("steps", {"n": n})
        if n % 6 == 5:
            world.queue.push("hang")
    world.work("--jobs", "steps", "--drain").ends_with(0)
    all_ended(world, hanging=4)
    assert len(world.queue.find()) == 4
