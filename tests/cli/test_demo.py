"""The guided tour, as a user takes it: real processes, on files made for it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from litequeue.cli.demo import MARKER

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "litequeue", "demo"]
TOUR_SECONDS = 60


def environment(**more: str) -> Mapping[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("LITEQUEUE_")}
    return {**mine, "PYTHONPATH": str(ROOT), **more}


def demo(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TOUR_SECONDS,
    )


@contextmanager
def running_demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A tour that has begun: its workers are started."""
    tour = subprocess.Popen(
        [*DEMO, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job would hand on that it takes no notice of Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield tour
    finally:
        tour.kill()
        tour.communicate()


def workers_named_by(tour: subprocess.Popen[str]) -> list[int]:
    assert tour.stdout is not None
    for line in tour.stdout:
        if line.startswith("Two workers"):
            return [int(word.strip(".")) for word in line.split() if word.strip(".").isdecimal()]
    raise AssertionError("the tour started no workers")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return make_files(tmp_path / "my files")


def make_files(folder: Path) -> Path:
    """A few files, one of them empty, one not text, one in a folder."""
    (folder / "deeper").mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "letters.txt").write_text("a letter\n" * 1000)
    (folder / "deeper" / "bytes").write_bytes(bytes(range(256)) * 64)
    (folder / "naïve.txt").write_text("ä", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Taken:
    """A tour that was taken to its end."""

    tour: subprocess.CompletedProcess[str]
    start: Path
    files: Path
    folder: Path


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    start = tmp_path_factory.mktemp("tour")
    files = make_files(start / "my files")
    return Taken(demo(start, str(files)), start, files, start / "litequeue-demo")


def test_the_tour_archives_every_file_and_ends_with_a_table(taken: Taken) -> None:
    assert (taken.tour.returncode, taken.tour.stderr) == (0, "")
    lines = taken.tour.stdout.splitlines()
    table = {line.split()[0]: line for line in lines if line.strip()}
    assert table["done"].split()[1] == "5"
    assert table["retried"].split()[1] == "1"
    assert "is done at attempt 3: TimeoutError: the drive with" in table["retried"]
    assert table["failed"].split()[1] == "1"
    assert f"there is no file {taken.folder}/missing.txt" in table["failed"]
    # On a slow machine it may be due before the last file is done.
    assert re.search(r"after its push, and found [1-4] files", table["delayed"])
    assert table["manifest"].endswith("litequeue-demo/manifest.json")
    assert "6 of 6 jobs are finished" in lines
    assert "4 of the files were unpacked again" in taken.tour.stdout


def test_the_manifest_has_the_sizes_and_the_hash_of_every_file(taken: Taken) -> None:
    manifest = json.loads((taken.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["root"] == str(taken.files)
    assert {each["path"] for each in manifest["files"]} == {
        "empty", "letters.txt", "deeper/bytes", "naïve.txt"
    }  # fmt: skip
    for each in manifest["files"]:
        original = (taken.files / each["path"]).read_bytes()
        archive = taken.folder / each["archive"]
        assert gzip.decompress(archive.read_bytes()) == original
        assert each["sha256"] == hashlib.sha256(original).hexdigest()
        assert (each["size"], each["packed"]) == (len(original), archive.stat().st_size)


def test_the_commands_that_the_tour_tells_work_when_pasted(taken: Taken) -> None:
    told = [line.strip() for line in taken.tour.stdout.splitlines() if " -m litequeue " in line]
    assert [shlex.split(command)[3] for command in told] == ["status", "list", "retry", "work"]
    (taken.folder / "missing.txt").write_text("here I am")
    for command in told:
        pasted = subprocess.run(
            command,
            shell=True,
            cwd=taken.start,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TOUR_SECONDS,
        )
        assert (pasted.returncode, pasted.stderr) == (0, ""), command
    assert gzip.decompress((taken.folder / "missing.txt.gz").read_bytes()) == b"here I am"


def test_a_former_tour_stays_and_the_next_one_gets_a_number(taken: Taken) -> None:
    before = sorted(taken.folder.rglob("*"))
    again = demo(taken.start, ".")
    assert again.returncode == 0, again.stderr
    assert "litequeue-demo-2/manifest.json" in again.stdout
    assert sorted(taken.folder.rglob("*")) == before
    # What the first tour made is not archived by the second.
    assert "6 of 6 jobs are finished" in again.stdout.splitlines()


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(
    tmp_path: Path, files: Path
) -> None:
    refused = demo(tmp_path, str(files), "--folder", str(files))
    assert refused.returncode == 2
    assert "no earlier tour made it" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (files / MARKER).exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere"], "nowhere is not a directory"),
        (["nothing"], "nothing has no file that can be read"),
        (["my files", "--folder", "my files/empty"], "exists, and no earlier tour made it"),
        (["my files", "--folder", "my files/empty/tour"], "Not a directory"),
    ],
)
def test_what_cannot_be_toured_is_said_in_one_line(
    tmp_path: Path, files: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "nothing").mkdir()
    refused = demo(tmp_path, *arguments)
    assert refused.returncode == 2
    assert problem in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_links_and_names_that_no_payload_can_hold_are_left_out(tmp_path: Path, files: Path) -> None:
    (files / "link").symlink_to(files / "letters.txt")
    try:
        Path(os.fsdecode(os.fsencode(files) + b"/\xff")).touch()
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    tour = demo(tmp_path, str(files))
    assert tour.returncode == 0, tour.stderr
    assert "6 of 6 jobs are finished" in tour.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_tour_stops_its_workers(
    tmp_path: Path, files: Path, number: signal.Signals
) -> None:
    with running_demo(tmp_path, str(files)) as tour:
        workers = workers_named_by(tour)
        tour.send_signal(number)
        rest, _ = tour.communicate(timeout=TOUR_SECONDS)
        assert tour.returncode == 130
        assert "Interrupted; what was done so far stays in litequeue-demo" in rest
        assert "Traceback" not in rest
        assert all(map(is_gone, workers))


def test_a_worker_may_die_and_the_other_ends_the_work(tmp_path: Path, files: Path) -> None:
    with running_demo(tmp_path, str(files)) as tour:
        victim, _ = workers_named_by(tour)
        os.kill(victim, signal.SIGKILL)
        rest, _ = tour.communicate(timeout=TOUR_SECONDS)
        assert "6 of 6 jobs are finished" in rest
        assert tour.returncode == 0


def test_a_tour_whose_workers_all_die_says_so_and_fails(tmp_path: Path, files: Path) -> None:
    with running_demo(tmp_path, str(files)) as tour:
        victims = workers_named_by(tour)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        rest, _ = tour.communicate(timeout=TOUR_SECONDS)
        assert "No worker is left" in rest
        assert tour.returncode == 1


def test_the_tour_prints_on_a_terminal_that_has_only_ascii(tmp_path: Path, files: Path) -> None:
    tour = demo(tmp_path, str(files), PYTHONIOENCODING="ascii")
    assert tour.returncode == 0, tour.stderr
    assert tour.stdout.isascii()
