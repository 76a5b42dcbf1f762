"""The jobs of the archive."""

from __future__ import annotations

from pathlib import Path

from litequeue import Fail, Job, current, job

from .pack import pack

DAY_SECONDS = 86_400


class ArchiveFile(Job, max_attempts=3, backoff=0.5, keep=DAY_SECONDS):
    """Write a compressed copy of one file; the result has its sizes and its SHA-256."""

    source: Path
    target: Path

    def handle(self) -> object:
        if not self.source.exists():
            # Another attempt would not find it either.
            raise Fail(f"there is no file {self.source}")
        return pack(self.source, self.target)


class ArchiveFromNetwork(ArchiveFile):
    """The same from a network drive, which answers only at the third attempt."""

    def handle(self) -> object:
        if current().attempt < 3:
            raise TimeoutError(f"the drive with {self.source.name} does not answer")
        return super().handle()


@job(keep=DAY_SECONDS)
def count_archive(folder: Path) -> object:
    """Count the compressed files and their bytes."""
    packed = list(folder.rglob("*.gz"))
    return {"files": len(packed), "bytes": sum(path.stat().st_size for path in packed)}
