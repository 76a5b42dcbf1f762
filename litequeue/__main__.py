"""``python -m litequeue``."""

import sys

from litequeue.cli.main import main

sys.exit(main())
