"""An archive: one job compresses and hashes one file.

The jobs are in ``jobs.py``, the work itself in ``pack.py``, which knows nothing of
litequeue. ``litequeue demo`` pushes them; two workers find them by

    litequeue work jobs.db --jobs examples.archive
"""
