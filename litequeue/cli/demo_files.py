"""What the guided tour works on: the files it reads, and the folder it makes."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from litequeue.errors import OptionError

MARKER = "litequeue-demo.txt"
MARKER_TEXT = "Made by `litequeue demo`. Delete this folder when you have seen enough.\n"

MOST_FILES = 5_000
MOST_BYTES = 1_000_000_000
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


@dataclass(slots=True)
class Files:
    """Paths below a root, and what was left out."""

    root: Path
    paths: list[Path] = field(default_factory=list)
    bytes: int = 0
    unreadable: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The tour's folder, and where things are in it."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "jobs.db"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def missing(self) -> Path:
        return self.folder / "missing.txt"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    def log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"


def library() -> Files:
    """The source of Python's own library; raises OptionError where it has none."""
    files = Files(Path(sysconfig.get_path("stdlib")))
    _walk(files, ".py", NOT_THE_LIBRARY)
    if not files.paths:
        problem = f"{files.root} has no source files; name a folder of yours: demo DIR"
        raise OptionError(owner="demo", problem=problem)
    return files


def all_files(directory: str) -> Files:
    """All the regular files of a directory; raises OptionError where there are none."""
    if not os.path.isdir(directory):
        raise OptionError(owner="demo", problem=f"{directory} is not a directory")
    files = Files(Path(os.path.abspath(directory)))
    _walk(files, "", set())
    if not files.paths:
        raise OptionError(owner="demo", problem=f"{directory} has no file that can be read")
    return files


def made(wanted: str) -> Place:
    """Make the tour's folder, with a number where there is one of a former tour: nothing
    that exists is changed. Raises OptionError for a folder that holds something else."""
    first = Path(os.path.abspath(wanted))
    for number in count(2):
        folder = first if number == 2 else first.with_name(f"{first.name}-{number - 1}")
        if not (folder / MARKER).is_file():
            break
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        problem = f"{folder} exists, and no former tour made it; name another --folder"
        raise OptionError(owner="demo", problem=problem)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(MARKER_TEXT)
    return Place(folder)


def _walk(files: Files, suffix: str, without: set[str]) -> None:
    for folder, folders, names in os.walk(files.root, onerror=lambda error: _leave_out(files)):
        folders[:] = sorted(
            name
            for name in folders
            # What a former tour has made is left out too.
            if name not in without and not os.path.exists(os.path.join(folder, name, MARKER))
        )
        for name in sorted(names):
            if name.endswith(suffix) and not _take(files, Path(folder, name)):
                return


def _take(files: Files, path: Path) -> bool:
    """Add a file; False where there are enough."""
    if path.is_symlink() or not path.is_file():
        return True
    if not os.access(path, os.R_OK) or not _is_text(str(path)):
        _leave_out(files)
        return True
    size = path.stat().st_size
    if len(files.paths) == MOST_FILES or files.bytes + size > MOST_BYTES:
        files.capped = True
        return False
    files.paths.append(path.relative_to(files.root))
    files.bytes += size
    return True


def _leave_out(files: Files) -> None:
    files.unreadable += 1


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        # The payload of a job is JSON text, which cannot hold such a name.
        return False
    return True
