"""Detects the file systems that a queue cannot be on.

SQLite's WAL needs memory that all processes on the file share, and litequeue's workers
need locks that the kernel releases when they die. Neither works across hosts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from litequeue.engine import place

MOUNT_TABLE = Path(place.MOUNTS)

# The types of file systems that other hosts can write to, or that a virtual machine shares
# with its host, as the kernel names them.
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "gpfs",
    "beegfs", "orangefs", "pvfs2", "gfs2", "ocfs2", "9p", "virtiofs", "vboxsf", "vmhgfs",
    "prl_fs", "drvfs", "fakeowner", "davfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.cephfs", "fuse.s3fs",
    "fuse.rclone", "fuse.gcsfuse", "fuse.goofys", "fuse.juicefs", "fuse.mfs", "fuse.lizardfs",
    "fuse.seaweedfs", "fuse.nfs", "fuse.davfs", "fuse.davfs2", "fuse.curlftpfs",
    "fuse.smbnetfs", "fuse.vmhgfs-fuse", "fuse.grpcfuse",
})  # fmt: skip


def network_filesystem(path: str | os.PathLike[str], mounts: Path | None = None) -> str | None:
    """Return the type of the network file system that ``path`` is on; None for a local one,
    and if this system has no table of ``mounts``."""
    kind = filesystem(path, mounts)
    return kind if kind in NETWORK else None


def filesystem(path: str | os.PathLike[str], mounts: Path | None = None) -> str | None:
    """Return the type of the file system that ``path`` is on, as the kernel names it;
    None if this system has no table of ``mounts``."""
    real = Path(os.path.realpath(path))
    deepest, kind = -1, None
    try:
        for mount_point, found in _mounted(mounts or MOUNT_TABLE):
            # Of two mounts on one mount point, the later one hides the earlier.
            if real.is_relative_to(mount_point) and len(mount_point.parts) >= deepest:
                deepest, kind = len(mount_point.parts), found
    except OSError:
        return None
    return kind


def _mounted(mounts: Path) -> Iterator[tuple[Path, str]]:
    with open(mounts, "rb") as lines:
        for line in lines:
            # The number of optional fields varies; a lone dash ends them.
            before, _, after = os.fsdecode(line).partition(" - ")
            yield Path(_unescaped(before.split()[4])), after.split()[0]


def _unescaped(text: str) -> str:
    """A path of the table, which writes spaces and the like as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
