"""A module run as by `python -m`, but no longer than the process that started it.

    python -m invlib.series.child MODULE ARGUMENT ...

That process holds the other end of standard input, which ends with it, even where it was killed.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_parent() -> None:
    """Wait until standard input ends, then end this process as SIGTERM does."""
    while os.read(0, 1024):  # not sys.stdin, whose lock this thread would hold when the module is done
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def leave(*_) -> None:
    """Leave in order, so that a notebook's kernel is shut down."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
