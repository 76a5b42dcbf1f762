"""``--single-id``: one worker for each id and database."""

from __future__ import annotations

import signal

from .harness import World, ended

REFUSED = "Instance is already running. Exiting."


def test_a_second_worker_of_one_id_says_so_and_ends_well(world: World) -> None:
    first = world.work("--single-id", "mail")
    world.registered(1)
    second = world.work("--single-id", "mail")
    second.ends_with(0)
    assert second.err().strip() == REFUSED
    id = world.push()
    assert world.started(id).pid == first.pid
    world.gone(id)


def test_the_id_of_a_killed_worker_is_free_at_once(world: World) -> None:
    world.work("--single-id", "mail")
    world.registered(1)
    world.close()
    id = world.push()
    world.work("--single-id", "mail", "--drain").ends_with(0)
    world.gone(id)


def test_different_ids_run_side_by_side(world: World) -> None:
    world.work("--single-id", "mail")
    world.work("--single-id", "images")
    world.registered(2)


def test_a_stopped_holder_keeps_its_id(world: World) -> None:
    holder = world.work("--single-id", "mail")
    world.registered(1)
    holder.signal(signal.SIGSTOP)
    second = world.work("--single-id", "mail")
    second.ends_with(0)
    assert REFUSED in second.err()
    holder.signal(signal.SIGCONT)
    id = world.push()
    world.gone(id)


def test_a_supervisor_holds_its_id_and_its_workers_do_not(world: World) -> None:
    supervisor = world.work("--single-id", "mail", "--workers", 1)
    (worker,) = world.registered(1)
    second = world.work("--single-id", "mail", "--workers", 1)
    second.ends_with(0)
    assert REFUSED in second.err()
    id = world.push()
    assert world.started(id).pid == worker
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)


def test_the_lock_may_lie_elsewhere_and_is_of_the_database_still(world: World) -> None:
    locks = world.folder / "locks"
    locks.mkdir()
    world.work("--single-id", "mail", "--lock-dir", locks)
    world.registered(1)
    assert len(list(locks.iterdir())) == 1
    other = world.start(
        "-m", "litequeue", "work", "other.db", "--jobs", "jobs_for_faults",
        "--single-id", "mail", "--lock-dir", locks, "--drain",
    )  # fmt: skip
    other.ends_with(0)
    assert REFUSED not in other.err()


def test_what_a_job_has_forked_off_does_not_keep_the_id(world: World) -> None:
    id = world.push("fork_and_gate", "ok")
    worker = world.work("--single-id", "mail")
    left = world.noted(id, "forked").pid
    worker.process.kill()
    worker.status()
    world.work("--single-id", "mail", "--drain").ends_with(0)
    assert left != worker.pid
    assert not ended(left)
    world.gone(id)
    world.open_gate(id)
