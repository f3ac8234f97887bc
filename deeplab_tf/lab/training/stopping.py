"""Stop a run by Ctrl-C or SIGTERM."""

import signal
import threading
from collections.abc import Iterable, Iterator

import click


class Interrupted(Exception):
    """Training was stopped by a signal; `args[0]` is the step that --resume continues from, 0 where none is saved."""


class StopSignal:
    """A context in which a first signal asks the run to stop where its state can be saved next, and a second one stops
    it at once by a KeyboardInterrupt.

    Where nothing would be lost, as before the first step is done, the first one stops it at once.
    """

    def __init__(self):
        self.requested = False
        self.worth_saving = False  # there are steps since the last saved state
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # signals arrive nowhere else
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        if self.requested or not self.worth_saving:
            raise KeyboardInterrupt
        self.requested = True
        click.echo("\nStopping as soon as the state can be saved; press Ctrl-C once more to stop at once ...", err=True)

    def check(self) -> None:
        """Raise KeyboardInterrupt if the run was asked to stop."""
        if self.requested:
            raise KeyboardInterrupt

    def watch(self, items: Iterable) -> Iterator:
        """Yield the items until the run is asked to stop."""
        for item in items:
            self.check()
            yield item
