"""Workers that do not have the same jobs: before and after a deploy, and two projects on one
file."""

from __future__ import annotations

from .harness import World

# A worker that has the one job, or the other.
HAS = """
import sys
from litequeue import Queue, Worker, job

@job(name="NAME", max_attempts=1)
def handles():
    print("ran", flush=True)

sys.exit(Worker(Queue("jobs.db"), [handles]).run())
"""


def test_two_projects_on_one_file_each_run_their_own_jobs(world: World) -> None:
    left, right = (world.script(HAS.replace("NAME", name)) for name in ("left", "right"))
    world.registered(2)
    for _ in range(50):
        world.queue.push("left")
        world.queue.push("right")
    world.until(lambda: not world.queue.find())
    assert [each.out().count("ran") for each in (left, right)] == [50, 50]


def test_a_killed_worker_that_does_not_know_its_job_takes_nothing_from_it(world: World) -> None:
    id = world.queue.push("right", max_attempts=1)
    old = world.script(HAS.replace("NAME", "left"))
    world.until(lambda: world.queue.get(id).unknown_since)
    old.kill()
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("scheduled", 0)
    new = world.script(HAS.replace("NAME", "right"))
    world.until(lambda: not world.queue.find())
    assert new.out() == "ran\n"
