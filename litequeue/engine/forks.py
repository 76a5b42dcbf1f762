"""What a forked child is to let go of at once: its parent's locks and open FIFOs.

A lock of flock lives as long as any process has its descriptor open, so a child that keeps
one keeps a dead worker alive. There is one hook for the whole process: Python can not take
a hook back, and one for each queue would stay for good.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Protocol


class Inherited(Protocol):
    """Something with descriptors that are its own process's alone."""

    def forked(self) -> None:
        """Close them; called in the child, before anything else runs there."""


_open: weakref.WeakSet[Inherited] | None = None


def tell_child(owner: Inherited) -> None:
    """Call ``owner.forked()`` in every child that is forked while ``owner`` is alive."""
    global _open
    if _open is None:
        _open = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_report)
    _open.add(owner)


def _report() -> None:
    for owner in list(_open or ()):
        # What one cannot close is no reason to leave the others open.
        with suppress(OSError):
            owner.forked()
