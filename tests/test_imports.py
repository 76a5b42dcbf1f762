"""What is loaded, and when: who only pushes, or waits for jobs, does without the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import litequeue
from litequeue.cli import main as cli
from litequeue.cli.parser import Commands

ROOT = Path(__file__).parent.parent

# Modules of Python's, each of which some part of litequeue, or of what it imports, has use for.
HEAVY = """
argparse asyncio base64 bz2 calendar concurrent ctypes decimal difflib email faulthandler fcntl
hashlib http importlib.metadata importlib.resources locale logging lzma mmap multiprocessing
pathlib pickle pkgutil platform queue random secrets select selectors shlex shutil signal socket
statistics string subprocess sysconfig tempfile textwrap traceback urllib uuid zipfile zoneinfo
"""

# Of litequeue's own: for who works, looks, or asks for more.
NOT_FOR_PUSHING = """
jobs.batch store.batches store.invariants cli.main times.cron jobs.discovery monitor.doctor
worker.executor store.dependencies jobs.log jobs.events engine.locks worker.outcome monitor.status
worker.rescuer engine.presence worker.shutdown worker.supervisor worker.timeout worker.periodic
times.schedule times.phrases worker.worker
"""

# A worker has these, and needs no more until a job does.
FOR_WORKING = "argparse faulthandler fcntl locale logging mmap pkgutil select signal"
NOT_FOR_WORKING = """
jobs.batch cli.status cli.demo times.cron monitor.doctor jobs.log jobs.events monitor.status
worker.supervisor times.schedule times.phrases
"""


def ours(names: str) -> list[str]:
    return [f"litequeue.{name}" for name in names.split()]


# What dataclasses and the others load is no work of litequeue's.
BEGIN = """
import dataclasses, json, sqlite3, sys, threading, typing
before = set(sys.modules)
"""
END = """
print(json.dumps(sorted(set(sys.modules) - before)))
"""

PUSHING = """
import litequeue
from litequeue import Job, Queue

class SendMail(Job, queue="mail", max_attempts=5):
    user_id: int
    template: str = "welcome"
    tags: list[str] = dataclasses.field(default_factory=list)

    def handle(self) -> None: ...

with Queue("jobs.db") as queue:
    queue.push(SendMail(1))
    queue.push(SendMail(2), delay=30, priority=5)
    queue.push_many([SendMail(3), SendMail(4, tags=["a"])])
    queue.push("resize", {"path": "a.png", "width": 8.5})
    litequeue.bind(queue)
    SendMail(5).dispatch()
"""


def loaded(script: str, folder: Path) -> set[str]:
    """The modules that a script loads in a fresh interpreter, which has no site-packages:
    what is installed there may load anything."""
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, '.']\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", path + BEGIN + script + END],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def pushers(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a process has loaded that has pushed jobs in the usual ways."""
    return loaded(PUSHING, tmp_path_factory.mktemp("pushing"))


@pytest.mark.parametrize("module", [*HEAVY.split(), *ours(NOT_FOR_PUSHING)])
def test_a_process_that_only_pushes_does_without(pushers: set[str], module: str) -> None:
    assert "litequeue.store.insert" in pushers
    assert module not in pushers


JOBS = """
from litequeue import Job, job

class SendMail(Job):
    user_id: int

    def handle(self) -> None: ...

@job
def resize(path: str, width: int = 800) -> None: ...
"""

WORKING = """
import argparse, logging
before |= set(sys.modules)
from litequeue.cli.main import main
assert main(["work", "jobs.db", "--drain", "--quiet"]) == 0
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a worker has loaded that has found its jobs, and nothing to do."""
    folder = tmp_path_factory.mktemp("working")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "__init__.py").write_text("")
    (folder / "jobs" / "mail.py").write_text(JOBS)
    return loaded(WORKING, folder)


@pytest.mark.parametrize(
    "module", sorted({*HEAVY.split(), *ours(NOT_FOR_WORKING)} - {*FOR_WORKING.split()})
)
def test_a_worker_without_work_does_without(workers: set[str], module: str) -> None:
    assert {"jobs.mail", "litequeue.worker.worker"} <= workers
    assert module not in workers


LATE = """
from litequeue import Job, Queue

class First(Job):
    number: int

    def handle(self) -> None: ...

queue = Queue("jobs.db")
queue.push(First(1))
queue.push("first", {"number": 2})
assert not {"decimal", "uuid", "pathlib", "base64"} & set(sys.modules)

from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

class Second(Job):
    price: Decimal
    code: UUID
    path: PurePosixPath
    seal: bytes

    def handle(self) -> None: ...

values = {"price": Decimal("1.10"), "code": UUID(int=1), "path": PurePosixPath("a/b"), "seal": b"x"}
typed = queue.get(queue.push(Second(**values))).payload
named = queue.get(queue.push("second", values)).payload
assert typed == named, (typed, named)
assert vars(Second.__litequeue__.codec.decode(typed)) == values
"""


def test_a_type_whose_module_is_loaded_after_the_first_push_can_be_pushed(tmp_path: Path) -> None:
    assert {"decimal", "uuid", "pathlib", "base64"} <= loaded(LATE, tmp_path)


# The front door


def test_every_public_name_can_be_imported() -> None:
    names: dict[str, object] = {}
    exec("from litequeue import *", names)
    assert set(litequeue.__all__) <= set(names)
    assert set(litequeue.__all__) <= set(dir(litequeue))
    for name in litequeue.__all__:
        assert names[name] is getattr(litequeue, name)


def test_a_name_that_there_is_not_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'litequeue' has no attribute 'Wrker'"):
        litequeue.Wrker  # type: ignore[attr-defined]  # noqa: B018


# The commands


def choices(word: str) -> list[str]:
    """The commands that are added where the first word is ``word``."""
    added: list[str] = []

    class Remembering(Commands):
        def add(self, name: str, *args: object) -> object:  # type: ignore[override]
            added.append(name)
            return super().add(name, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "Commands", Remembering)
        cli.commands_for(word)
    return added


@pytest.mark.parametrize("word", ["", "--help", "--version", "wrk", "work.add"])
def test_a_word_that_is_no_command_finds_all_of_them(word: str) -> None:
    assert choices(word) == [name for names in cli.ADDED_BY.values() for name in names]


@pytest.mark.parametrize("names", cli.ADDED_BY.values())
def test_a_command_is_added_with_those_of_its_file_alone(names: tuple[str, ...]) -> None:
    for name in names:
        assert choices(name) == list(names)
