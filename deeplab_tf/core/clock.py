"""A clock that stands still while the process does: after Ctrl-Z (SIGTSTP) or SIGSTOP, until it is continued.

Rates, latencies and the timer of a lost camera go by it. A thread looks at the time four times a second; a process that
could not look for longer, and computed nothing meanwhile, was suspended.
"""

import threading
import time
from time import monotonic  # tests give progress a clock of their own

_LOOK_S = 0.25
_SUSPENDED_S = 1.0
"""The shortest time without a look that counts as a suspension."""
_BUSY = 0.1
"""Processor seconds per second from which a process that did not look was busy, in a library that lets no other thread
run."""


class _Watch:
    def __init__(self):
        self._lock = threading.Lock()
        self._thread = None
        self._seen = self._processor = self.suspended = 0.0
        self.continued_at = -float("inf")  # by `awake`

    def look(self):
        with self._lock:
            now, processor = monotonic(), time.process_time()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
                self._thread.start()
            else:
                gap = now - self._seen
                if gap > _SUSPENDED_S and processor - self._processor < _BUSY * gap:
                    self.suspended += gap
                    self.continued_at = now - self.suspended
            self._seen, self._processor = now, processor

    def _run(self):
        while True:
            time.sleep(_LOOK_S)
            self.look()


_watch = _Watch()


def suspended() -> float:
    """Return the seconds for which this process has been suspended since the first call."""
    _watch.look()
    return _watch.suspended


def awake() -> float:
    """Return time.monotonic() without those seconds."""
    return monotonic() - suspended()


def since_suspension() -> float:
    """Return the seconds since this process was last continued; infinity if it never was suspended."""
    return awake() - _watch.continued_at
