"""A Redis server of one's own, on a socket, that appends each write to a file and has it on
the disk within a second: the setting that its documentation recommends for durability."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.workers import wait_until


def there_is_redis() -> bool:
    """Whether this machine has the program."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run one for the length of the block; gives its URL."""
    path = folder / "redis.sock"
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(path))
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True
