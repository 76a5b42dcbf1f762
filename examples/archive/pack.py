"""Compressing a file."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


def pack(source: Path, target: Path) -> dict[str, object]:
    """Write ``source`` compressed to ``target``; return its sizes in bytes and its SHA-256.

    Other processes see the complete copy or none. A second run has the same result as
    one: a job may run again if its worker was killed just before the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with source.open("rb") as read, unfinished.open("wb") as write:
            digest, size = _compress(read, write)
        packed = unfinished.stat().st_size
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return {"size": size, "packed": packed, "sha256": digest}


def _compress(read: BinaryIO, write: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    # Without a name and a time in it, two copies of one file are equal.
    with gzip.GzipFile("", "wb", fileobj=write, mtime=0) as packed:
        while chunk := read.read(CHUNK_BYTES):
            digest.update(chunk)
            size += packed.write(chunk)
    return digest.hexdigest(), size
