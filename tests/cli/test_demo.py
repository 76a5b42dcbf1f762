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

from litequeue import Queue
from litequeue.cli.demo import MARKER, _verify

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
    """A tour that has begun."""
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
    assert re.search(r"done after .* s, attempt 3, TimeoutError: the drive", table["retried"])
    assert table["failed"].split()[1] == "1"
    assert f"there is no file {taken.folder}/missing.txt" in table["failed"]
    # On a slow machine it may be due before the last file is done.
    assert re.search(
        r'done after ([2-9]|\d\d+)\.\d s, attempt 1, {"files":[1-4],', table["delayed"]
    )
    assert "6 of 6 jobs are finished" in lines
    assert "4 of 4 unpacked files have the SHA-256 of their originals." in lines


def test_the_results_have_the_sizes_and_the_hash_of_every_file(taken: Taken) -> None:
    with Queue(taken.folder / "jobs.db") as queue:
        rows = queue.find(queue="files", state="done")
    assert len(rows) == 4
    for row in rows:
        payload, result = json.loads(row.payload), json.loads(row.result or "")
        original, archive = Path(payload["source"]).read_bytes(), Path(payload["target"])
        assert archive.is_relative_to(taken.folder / "archive")
        assert gzip.decompress(archive.read_bytes()) == original
        assert result["sha256"] == hashlib.sha256(original).hexdigest()
        assert (result["size"], result["packed"]) == (len(original), archive.stat().st_size)


def test_an_archive_that_differs_from_its_original_is_noticed(
    taken: Taken, capsys: pytest.CaptureFixture[str]
) -> None:
    with Queue(taken.folder / "jobs.db") as queue:
        rows = queue.find(queue="files", state="done")
    assert _verify(rows)
    changed = rows[0]._replace(result=json.dumps({"sha256": "of another file"}))
    assert not _verify([changed, *rows[1:]])
    assert not _verify([])
    counts = re.findall(r"(\d) of (\d) unpacked files have", capsys.readouterr().out)
    assert counts == [("4", "4"), ("3", "4"), ("0", "0")]


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
    assert "in the queue litequeue-demo-2/jobs.db" in again.stdout
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
        (["nowhere"], "nowhere is not a directory with files that can be read"),
        (["nothing"], "nothing is not a directory with files that can be read"),
        (["my files", "--folder", "my files/empty"], "File exists"),
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
def test_an_interrupted_tour_keeps_what_was_done(
    tmp_path: Path, files: Path, number: signal.Signals
) -> None:
    with running_demo(tmp_path, str(files)) as tour:
        assert tour.stdout is not None
        while "jobs are finished" not in tour.stdout.readline():
            pass
        tour.send_signal(number)
        # The delayed job would take longer.
        rest, _ = tour.communicate(timeout=TOUR_SECONDS)
        assert tour.returncode == 130
        assert rest == "Interrupted; what was done so far stays in litequeue-demo\n"
    with Queue(tmp_path / "litequeue-demo" / "jobs.db") as queue:
        states = {state for by in queue.counts().values() for state in by}
    assert "scheduled" in states
    assert "running" not in states


def test_a_tour_whose_database_is_removed_says_so_and_fails(tmp_path: Path, files: Path) -> None:
    with running_demo(tmp_path, str(files)) as tour:
        assert tour.stdout is not None
        while "jobs are finished" not in tour.stdout.readline():
            pass
        (tmp_path / "litequeue-demo" / "jobs.db").unlink()
        rest, _ = tour.communicate(timeout=TOUR_SECONDS)
        assert "jobs.db" in rest
        assert "Traceback" not in rest
        assert tour.returncode not in (0, None)


def test_a_package_called_examples_in_the_current_folder_is_not_in_the_way(
    tmp_path: Path, files: Path
) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "__init__.py").touch()
    tour = demo(tmp_path, str(files))
    assert (tour.returncode, tour.stderr) == (0, "")


def test_the_tour_prints_on_a_terminal_that_has_only_ascii(tmp_path: Path, files: Path) -> None:
    tour = demo(tmp_path, str(files), PYTHONIOENCODING="ascii")
    assert tour.returncode == 0, tour.stderr
    assert tour.stdout.isascii()
