"""Stops by whoever runs a worker: a service manager, a container engine, a terminal."""

from __future__ import annotations

import os
import signal

import pytest

from .harness import Program, World, ended
from .journal import OK, OUT, START

GRACE = ("--grace", 0.3)
NOHUP = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "


def attempt_not_used(world: World, id: int) -> None:
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("ready", 0), world.told()


def killed(program: Program, pid: int) -> None:
    """End all processes at once, as the end of a container does."""
    for each in {program.pid, pid}:
        os.kill(each, signal.SIGSTOP)
    for each in {program.pid, pid}:
        os.kill(each, signal.SIGKILL)
    program.status()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_alone_releases_a_job_that_does_not_end_within_the_grace(
    number: int, world: World
) -> None:
    id = world.push("hang", max_attempts=1)
    worker = world.work(*GRACE)
    world.started(id)
    worker.signal(number)
    worker.ends_with(0)
    attempt_not_used(world, id)
    assert world.journal.names(id) == [START, OUT]
    assert f"Finishing job {id} (scripted) within 0.3 s" in worker.err()
    assert f"Releasing job {id} (scripted)" in worker.err()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_alone_ends_with_a_job_that_swallows_the_stop(number: int, world: World) -> None:
    id = world.push("swallow", max_attempts=1)
    worker = world.work(*GRACE)
    world.started(id)
    worker.signal(number)
    worker.ends_with(128 + number)
    world.open_gate(id)
    world.work("--drain").ends_with(0)
    world.gone(id)


@pytest.mark.parametrize("flags", [(), ("--workers", 1)], ids=["alone", "supervised"])
@pytest.mark.parametrize("ending", ["gate", "freeze"])
def test_stops_that_are_not_waited_for_do_not_charge_a_job(
    ending: str, flags: tuple[object, ...], world: World
) -> None:
    # At its n-th run; the last one opens its gate.
    id = world.push(ending, ending, ending, "ok", max_attempts=1)
    for times in (1, 2, 3):
        program = world.work(*flags)
        pid = world.started(id, times).pid
        program.process.send_signal(signal.SIGTERM)
        world.until(lambda: asked_to_stop(world))
        killed(program, pid)
    world.work("--drain").ends_with(0)
    world.gone(id)


def asked_to_stop(world: World) -> bool:
    """Whether the worker that has the job has had its signal."""
    folder = world.folder / "jobs.db-workers"
    # Beside the lock files are FIFOs.
    files = [path for path in folder.iterdir() if path.is_file() and not path.suffix]
    return any(bytes([signal.SIGTERM]) in path.read_bytes() for path in files)


def test_a_job_that_crashes_during_a_stop_is_charged(world: World) -> None:
    world.push("gate", unique="first")
    id = world.push("term+exit", max_attempts=1)
    supervisor = world.work("--workers", 2)
    world.until(lambda: world.queue.get(id).state == "failed")
    assert "exit code 3" in world.queue.get(id).reason
    world.open_gate(id - 1)
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)


def test_a_worker_that_ignores_sighup_from_its_start_goes_on_ignoring_it(world: World) -> None:
    id = world.push("gate")
    words = "['litequeue', 'work', 'jobs.db', '--jobs', 'jobs_for_faults', '--grace', '0']"
    worker = world.script(f"{NOHUP} os.execv(sys.executable, [sys.executable, '-m', *{words}])")
    world.started(id)
    worker.process.send_signal(signal.SIGHUP)
    late = world.push(priority=-1)
    world.open_gate(id)
    world.gone(id, late)
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)


def test_a_supervisor_ends_with_its_terminal(world: World) -> None:
    id = world.push("hang", max_attempts=1)
    supervisor = world.work("--workers", 1, *GRACE)
    pid = world.started(id).pid
    supervisor.signal(signal.SIGHUP)
    supervisor.ends_with(0)
    attempt_not_used(world, id)
    assert ended(pid)


@pytest.mark.parametrize("flags", [(), ("--workers", 1)], ids=["alone", "supervised"])
def test_ctrl_c_waits_for_the_job_and_says_so(flags: tuple[object, ...], world: World) -> None:
    id = world.push("gate", max_attempts=1)
    worker = world.work(*flags, "--grace", 0)
    world.started(id)
    worker.signal(signal.SIGINT)
    worker.said(f"Finishing job {id} (scripted); Ctrl-C again releases it\n")
    world.open_gate(id)
    worker.ends_with(0)
    world.gone(id)
    assert world.journal.names(id) == [START, OK]


@pytest.mark.parametrize("flags", [(), ("--workers", 1)], ids=["alone", "supervised"])
def test_ctrl_c_again_releases_the_job_and_says_so(flags: tuple[object, ...], world: World) -> None:
    id = world.push("hang", max_attempts=1)
    worker = world.work(*flags)
    world.started(id)
    worker.signal(signal.SIGINT)
    worker.said("Finishing job")
    worker.signal(signal.SIGINT)
    worker.ends_with(128 + signal.SIGINT)
    assert f"Releasing job {id} (scripted); this attempt does not count\n" in worker.err()
    attempt_not_used(world, id)
