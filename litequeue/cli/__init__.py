"""The command line: ``python -m litequeue``, or ``litequeue`` where it is installed.

Exit statuses: 0 for success, 1 where the thing asked about is not so, 2 for wrong use
and for a file that cannot be used. Bad input is one line, and never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from litequeue.cli import care, change, demo, look, project, push, recipe, schedule, show, work
from litequeue.cli.environment import settle
from litequeue.cli.parser import Commands
from litequeue.cli.terminal import complain, silence
from litequeue.errors import LitequeueError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    commands = Commands()
    for add in (
        work.add,
        push.add,
        work.add_run,
        look.add,
        show.add,
        change.add,
        schedule.add,
        project.add,
        care.add,
        recipe.add,
        demo.add,
    ):
        add(commands)
    args = commands.parser.parse_args(arguments)
    try:
        settle(args)
        return int(args.run(args))
    except LitequeueError as error:
        complain(f"litequeue: {error}")
        return error.exit_code
    except BrokenPipeError:
        # The reader, a head or a pager, has seen enough.
        silence(sys.stdout)
        return 0
    except OSError as error:
        complain(f"litequeue: {error.strerror or error}")
        silence(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
