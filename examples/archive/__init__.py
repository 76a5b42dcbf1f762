"""An archive: one job compresses and hashes one file.

The jobs are in ``jobs.py``. The work itself is in ``pack.py``, which does not use
litequeue. ``litequeue demo`` pushes the jobs. In a clone, this worker finds them:

    litequeue work jobs.db --jobs examples.archive
"""
