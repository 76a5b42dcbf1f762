"""What a job changes of signals, masks and timers neither stops nor hurts the next one,
and the children of a job have none of the worker's."""

from __future__ import annotations

import signal

import pytest

from .harness import World

JOBS = """
import asyncio, faulthandler, multiprocessing, os, signal, threading, time
from litequeue import Job

class Meddle(Job, max_attempts=1):
    how: str
    pause: float = 0.01

    def handle(self):
        time.sleep(self.pause)
        globals()[self.how]()

def nothing(*args):
    pass

def ignores():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)

def default():
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)

def loop():
    async def main():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, nothing)
    asyncio.run(main())

def open_loop():
    global kept
    kept = asyncio.new_event_loop()
    kept.add_signal_handler(signal.SIGTERM, nothing)

def mask():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

def real():
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

def virtual():
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)

def prof():
    signal.setitimer(signal.ITIMER_PROF, 0.05)

def alarmed():
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.05)

def dump():
    faulthandler.dump_traceback_later(0.05, exit=True)

class Mask(Job, max_attempts=1):
    def handle(self):
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())

class Busy(Job, max_attempts=1):
    def handle(self):
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass

class Gate(Job, max_attempts=1):
    def handle(self):
        open("started", "w").close()
        while not os.path.exists("gate"):
            time.sleep(0.002)

class Hang(Job, max_attempts=1, timeout=0.1):
    def handle(self):
        while True:
            time.sleep(0.002)

class Children(Job, max_attempts=1):
    how: str

    def handle(self):
        fork = multiprocessing.get_context("fork")
        if self.how == "pool":
            pool = fork.Pool(2)
            pool.map(abs, [1])
            pool.terminate()
            pool.join()
        elif self.how == "process":
            for _ in range(20):
                child = fork.Process(target=time.sleep, args=(600,))
                child.start()
                child.terminate()
                child.join()
                assert child.exitcode == -signal.SIGTERM, child.exitcode
        else:
            child = os.fork()
            if not child:
                handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGALRM)]
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
                wakeup = signal.set_wakeup_fd(-1)
                right = handlers == [signal.SIG_DFL] * 2 and not blocked and wakeup == -1
                right = right and signal.getsignal(signal.SIGINT) is signal.default_int_handler
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""

LEFT = {
    "ignores": "a handler of SIGTERM",
    "default": "a handler of SIGTERM, a handler of SIGALRM",
    "loop": "a handler of SIGTERM",
    "open_loop": "a handler of SIGTERM",
    "mask": "a changed signal mask",
    "real": "a timer (ITIMER_REAL)",
    "virtual": "a timer (ITIMER_VIRTUAL)",
    "prof": "a timer (ITIMER_PROF)",
    "alarmed": "a handler of SIGALRM, a timer (ITIMER_REAL)",
    "dump": "",
}

IN_BACKGROUND = """
import jobs_that_meddle
from litequeue import Queue, Worker

with Worker(Queue("jobs.db"), jobs_that_meddle).in_background() as worker:
    worker.queue.wait(2, timeout=60)
"""


@pytest.fixture
def meddling(world: World) -> World:
    (world.folder / "jobs_that_meddle.py").write_text(JOBS)
    return world


@pytest.mark.parametrize("how", LEFT)
def test_what_a_job_leaves_is_put_back_and_said(how: str, meddling: World) -> None:
    meddling.queue.push("meddle", {"how": how})
    meddling.queue.push("busy")
    hanging = meddling.queue.push("hang", keep=60)
    meddling.queue.push("gate")
    worker = meddling.work("--jobs", "jobs_that_meddle", "--prefetch", 1)
    meddling.until((meddling.folder / "started").exists)
    worker.signal(signal.SIGTERM)
    worker.said("Finishing job")
    (meddling.folder / "gate").touch()
    worker.ends_with(0)
    assert "timeout" in meddling.queue.get(hanging).reason
    assert [row.id for row in meddling.queue.find()] == [hanging]
    warning = f"job 1 (meddle) left {LEFT[how]}" if LEFT[how] else ""
    assert warning in worker.err()
    assert worker.err().count("put back") == bool(warning)


def test_short_jobs_are_looked_at_together(meddling: World) -> None:
    for how in ("ignores", "prof", "mask", "dump"):
        meddling.queue.push("meddle", {"how": how, "pause": 0.0})
    meddling.queue.push("busy")
    gate = meddling.queue.push("gate")
    worker = meddling.work("--jobs", "jobs_that_meddle")
    meddling.until((meddling.folder / "started").exists)
    worker.signal(signal.SIGTERM)
    worker.said("Finishing job")
    (meddling.folder / "gate").touch()
    worker.ends_with(0)
    meddling.gone(gate)
    assert meddling.queue.find() == []


def test_the_mask_of_a_worker_in_a_thread_is_put_back(meddling: World) -> None:
    ids = [meddling.queue.push("meddle", {"how": "mask"}), meddling.queue.push("mask")]
    program = meddling.script(IN_BACKGROUND)
    program.ends_with(0)
    meddling.gone(*ids)
    assert "job 1 (meddle) left a changed signal mask" in program.err()


@pytest.mark.parametrize("how", ["pool", "process", "fork"])
def test_the_children_of_a_job_have_the_handlers_from_before(how: str, meddling: World) -> None:
    id = meddling.queue.push("children", {"how": how})
    meddling.work("--jobs", "jobs_that_meddle", "--drain").ends_with(0)
    meddling.gone(id)
