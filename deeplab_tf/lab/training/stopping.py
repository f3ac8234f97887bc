"""Stop a run by Ctrl-C, SIGTERM or SIGHUP."""

import contextlib
from collections.abc import Iterable, Iterator

from deeplab_tf.core.progress import say
from deeplab_tf.core.signals import asks_for_haste, handling


class Interrupted(Exception):
    """Training was stopped by a signal; `args[0]` is the step that --resume continues from, 0 where none is saved."""


class StopSignal:
    """A context in which a first signal asks the run to stop where its state can be saved next, and a second one stops
    it at once by a KeyboardInterrupt.

    Where nothing would be lost, as before the first step is done, the first one stops it at once.

    Attributes:
        requested: a signal has come.
        shared: several workers stop together, after the step in which they have `agreed` to.
        worth_saving: there are steps since the last saved state.
    """

    def __init__(self, *, shared: bool = False):
        self.requested = self.agreed = self.worth_saving = False
        self.shared = shared
        self._before: dict = {}
        self._undo = contextlib.ExitStack()

    def __enter__(self):
        self._before = self._undo.enter_context(handling(self._handle))
        return self

    def __exit__(self, *error):
        self._undo.close()

    def _handle(self, number, frame):
        if self.requested and not asks_for_haste(number):
            return
        if self.requested or not self.worth_saving:
            self._interrupt(number, frame)
        else:
            self.requested = True
            say("\nStopping as soon as the state can be saved; press Ctrl-C once more to stop at once ...")

    def _interrupt(self, number, frame):
        """Let the program's own handler interrupt it, which does so once; by itself a signal would kill the process."""
        before = self._before[number]
        if not callable(before):
            raise KeyboardInterrupt
        before(number, frame)

    @property
    def due(self) -> bool:
        """Whether the run stops here."""
        return self.agreed if self.shared else self.requested

    def check(self) -> None:
        """Raise KeyboardInterrupt if the run stops here."""
        if self.due:
            raise KeyboardInterrupt

    def watch(self, items: Iterable) -> Iterator:
        """Yield the items until the run stops."""
        for item in items:
            self.check()
            yield item
