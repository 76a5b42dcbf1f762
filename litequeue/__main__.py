"""``python -m litequeue``."""

import sys

from litequeue.cli import main

sys.exit(main())
