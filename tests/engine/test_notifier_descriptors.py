"""The notifier keeps the FIFOs open: what it notices, and what it closes."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from waiting import Child, Clock

from litequeue.engine.notifier import FIFO_TRUST_SECONDS, MOST_OPEN, Listener, Notifier
from litequeue.queue import Queue

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")


def was_notified(listener: Listener) -> bool:
    """Whether a byte came since the last look."""
    return bool(select.select(listener.descriptors(), [], [], 0)[0]) and listener.drain()


def opened(folder: Path) -> list[str]:
    """What this process has open in the folder, by the name of each descriptor."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return sorted(os.path.basename(path) for path in found if path.startswith(str(folder)))


linux = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system has no /proc")


# What is new, and what has gone


def test_a_fifo_made_after_the_first_notification_is_notified(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    first, notifier = listen(), Notifier(folder)
    notifier.notify("mail")
    second = listen("mail")
    notifier.notify("mail")
    assert (was_notified(first), was_notified(second)) == (True, True)


def test_a_folder_made_after_the_first_notification_is_found(tmp_path: Path) -> None:
    notifier = Notifier(tmp_path / "later")
    notifier.notify("mail")
    (tmp_path / "later").mkdir()
    listener = Listener(tmp_path / "later", [])
    notifier.notify("mail")
    assert was_notified(listener)
    listener.close()


def test_the_folder_is_listed_once_in_a_while(folder: Path) -> None:
    clock = Clock()
    notifier = Notifier(folder, clock)
    notifier.notify("mail")
    listener = Listener(folder, [], sleep=lambda seconds: None)
    clock.advance(FIFO_TRUST_SECONDS / 2)
    notifier.notify("mail")
    assert not was_notified(listener)
    clock.advance(FIFO_TRUST_SECONDS)
    notifier.notify("mail")
    assert was_notified(listener)
    listener.close()


def test_a_new_listener_waits_for_those_that_have_just_listed_the_folder(folder: Path) -> None:
    # What they push till then, the first look at the queue finds: it comes after this.
    clock = Clock()
    notifier = Notifier(folder, clock)
    notifier.notify("mail")
    listener = Listener(folder, [], sleep=clock.sleep)
    notifier.notify("mail")
    assert was_notified(listener)
    listener.close()


def test_a_removed_fifo_is_no_error_and_a_new_one_is_notified(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    old, notifier = listen("mail"), Notifier(folder)
    notifier.notify("mail")
    assert was_notified(old)
    (folder / "wake-for-mail").unlink()
    notifier.notify("mail")
    new = listen("mail")
    notifier.notify("mail")
    assert was_notified(new)


def test_a_removed_folder_is_no_error_and_a_new_one_is_found(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    listen()
    notifier = Notifier(folder)
    notifier.notify("mail")
    (folder / "wake-any").unlink()
    folder.rmdir()
    notifier.notify("mail")
    folder.mkdir()
    listener = listen()
    notifier.notify("mail")
    assert was_notified(listener)


def test_a_fifo_that_could_not_be_opened_is_tried_again(
    folder: Path, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    listener, notifier = listen(), Notifier(folder, clock)

    def full(*arguments: object) -> int:
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("litequeue.engine.notifier.os.open", full)
        notifier.notify("mail")
    clock.advance(FIFO_TRUST_SECONDS)
    notifier.notify("mail")
    assert was_notified(listener)


def test_a_file_that_is_no_fifo_is_not_written_to(folder: Path) -> None:
    (folder / "wake-any").write_text("mine")
    notifier = Notifier(folder)
    notifier.notify("mail")
    notifier.notify_all()
    assert (folder / "wake-any").read_text() == "mine"


DEADLY = """
import signal, sys
from litequeue.queue import Queue
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
with Queue(sys.argv[1]) as queue:
    queue.push("a")
    print("pushed", flush=True)
    input()
    queue.push("a")
print("lives")
"""


def test_a_push_survives_the_end_of_the_last_listener_where_sigpipe_kills(
    folder: Path, listen: Callable[..., Listener], start: Callable[..., Child]
) -> None:
    listener = listen()
    child = start(DEADLY, folder.with_name("jobs.db"))
    assert child.line() == "pushed"
    assert was_notified(listener)
    listener.close()
    child.say()
    assert child.finish() == "lives"


# What is open


@linux
def test_a_fifo_is_opened_once_however_often_it_is_notified(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    listen("mail")
    listen("low")
    before = opened(folder)
    clock = Clock()
    notifier = Notifier(folder, clock)
    for _ in range(50):
        notifier.notify("mail")
        notifier.notify("low")
        notifier.notify_all()
        clock.advance(FIFO_TRUST_SECONDS)
    assert opened(folder) == sorted([*before, "wake-for-low", "wake-for-mail"])
    notifier.close()
    assert opened(folder) == before
    notifier.notify("mail")
    del notifier
    assert opened(folder) == before


@linux
def test_a_removed_fifo_is_closed(folder: Path, listen: Callable[..., Listener]) -> None:
    listener, clock = listen("mail"), Clock()
    notifier = Notifier(folder, clock)
    notifier.notify("mail")
    listener.close()
    assert opened(folder) == ["wake-for-mail (deleted)"]
    clock.advance(FIFO_TRUST_SECONDS)
    notifier.notify("mail")
    assert opened(folder) == []


@linux
def test_a_queue_that_is_closed_has_nothing_open(
    folder: Path, listen: Callable[..., Listener], make_queue: Callable[..., Queue]
) -> None:
    listener = listen()
    before = opened(folder)
    queue = make_queue()
    for _ in range(2):
        queue.push("a")
        assert was_notified(listener)
        assert opened(folder) == [*before, "wake-any"]
        queue.close()
        assert opened(folder) == before


@linux
def test_a_child_of_a_fork_opens_its_own(
    folder: Path, listen: Callable[..., Listener], make_queue: Callable[..., Queue]
) -> None:
    listener, queue = listen(), make_queue()
    queue.push("a")
    assert was_notified(listener)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(30)
            inherited = opened(folder)
            queue.push("b")
            os.write(writer, repr((inherited, opened(folder))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = b""
    while part := os.read(reader, 1000):
        told += part
    os.close(reader)
    os.waitpid(child, 0)
    # The listener belongs to the parent alone.
    assert told.decode() == repr(([], ["wake-any"]))
    assert was_notified(listener)
    queue.push("c")
    assert was_notified(listener)


@linux
def test_a_producer_of_many_queues_keeps_few_open(
    folder: Path, listen: Callable[..., Listener], make_queue: Callable[..., Queue]
) -> None:
    listeners = [listen(f"tenant-{number}") for number in range(2 * MOST_OPEN)]
    mine = opened(folder)
    queue = make_queue()
    for number, listener in enumerate(listeners):
        queue.push("a", {}, queue=f"tenant-{number}")
        assert was_notified(listener)
    assert len(opened(folder)) - len(mine) <= MOST_OPEN
    queue.push("a", {}, queue="tenant-0")
    assert was_notified(listeners[0])


@linux
def test_a_producer_opens_what_serves_its_queue_and_nothing_else(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    for number in range(20):
        listen(f"tenant-{number}")
    listen()
    before = opened(folder)
    notifier = Notifier(folder)
    notifier.notify("tenant-3")
    assert opened(folder) == sorted([*before, "wake-any", "wake-for-tenant-3"])


def test_threads_that_notify_while_fifos_come_and_go_write_to_no_other_file(
    folder: Path, tmp_path: Path, listen: Callable[..., Listener]
) -> None:
    over, notifier = threading.Event(), Notifier(folder)
    troubles: list[BaseException] = []

    def notify() -> None:
        try:
            while not over.is_set():
                notifier.notify("mail")
                notifier.close()
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=notify) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(40):
            listener = Listener(folder, ["mail"], sleep=lambda seconds: None)
            with ExitStack() as files:
                # They get the numbers of descriptors that were just closed.
                for place in range(5):
                    files.enter_context(open(tmp_path / f"{number}-{place}", "w"))
                (folder / "wake-for-mail").unlink()
                listener.close()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert troubles == []
    assert [
        path.name for path in tmp_path.iterdir() if path.is_file() and path.stat().st_size
    ] == []
