"""SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal, a dropped ssh session) ask a program to end.

Each ends it in the same order: the first one raises KeyboardInterrupt, so that every `finally` on the way out removes
its temporary files, and later ones raise nothing more, so that none of those is cut short.
"""

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, Optional

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT = "DEEPLAB_TF_PARENT"
"""The environment variable with the number of the process that has started this one, for `end_with_parent`."""
GRACE_S = 5.0
"""How long an orderly end may take after a second signal."""


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], object]) -> Iterator[Dict[int, Any]]:
    """Let `handler(number, frame)` take these signals in the block; yield the handlers before it by number.

    SIGTERM and SIGHUP stay ignored where they are, as SIGHUP is under nohup. Signals arrive in the main thread alone;
    in another one this does nothing.
    """
    before: Dict[int, Any] = {}
    number: int
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if number == signal.SIGINT or signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before or signal.SIG_DFL)


def asks_for_haste(number: int) -> bool:
    """Return whether a signal means more than the one before it; not SIGHUP, which terminal and shell both send."""
    return number != signal.SIGHUP


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Let no child that is started in the block get SIGINT or SIGHUP, which a terminal sends to parent and children
    alike: the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_child(child: "subprocess.Popen[Any]") -> None:
    """End a child process in its own order, or after GRACE_S at once; one that has ended is left alone."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def end_with_parent(parent: int) -> None:
    """Let Linux kill this process when its parent, which has this number, dies, however that dies."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


class OrderlyEnd:
    """A context around a whole program, which ends it as this module says.

    After a second signal the way out may take GRACE_S more, wherever the main thread is: in a library it sees no
    signal. Leaving the context by SystemExit after a signal ends the process at once: the interpreter's own end would
    wait for threads, and print a traceback at one more signal.

    Attributes:
        code: the exit code of the program when it is interrupted; None: 128 and the number of the signal.
        interrupted: whether a signal has raised KeyboardInterrupt.
    """

    def __init__(self):
        self.code: Optional[int] = None
        self.interrupted = False
        self._has_begun = False
        self._number: int = signal.SIGINT  # the first one
        self._count = 0
        self._undo = contextlib.ExitStack()

    def exit_code(self) -> int:
        """Return the exit code of the interrupted program; that of SIGINT for a KeyboardInterrupt of another origin."""
        return 128 + self._number if self.code is None else self.code

    def has_begun(self) -> None:
        """Let signals raise nothing from now on: the program is ending in an order of its own."""
        self._has_begun = True

    def __enter__(self) -> "OrderlyEnd":
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._undo.callback(os.close, writer)
        self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer))  # gets each signal's number at once
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        self._undo.enter_context(handling(self._interrupt))
        if hasattr(sys, "unraisablehook"):  # from Python 3.8 on
            self._undo.callback(setattr, sys, "unraisablehook", sys.unraisablehook)  # novm
            sys.unraisablehook = self._in_destructor  # novm
        return self

    def __exit__(self, kind, error, trace):
        if not (self._count or self.interrupted) or not isinstance(error, SystemExit):
            self._undo.close()
            return
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))

    def _interrupt(self, number, frame):
        if not self.interrupted and not self._has_begun:
            self.interrupted, self._number = True, self._number if self._count else number
            raise KeyboardInterrupt

    def _in_destructor(self, unraisable):
        """Raise KeyboardInterrupt once more where Python has dropped it, as it does in a destructor."""
        if unraisable.exc_type is KeyboardInterrupt:
            self.interrupted = False
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()  # when the destructor is over
        else:
            sys.__unraisablehook__(unraisable)  # novm

    def _watch(self, reader):
        while self._count < 2:
            numbers = os.read(reader, 64)
            if not numbers:  # the context was left
                os.close(reader)
                return
            for number in numbers:
                if number in ENDING and (not self._count or asks_for_haste(number)):
                    self._number = self._number if self._count else number
                    self._count += 1
        time.sleep(GRACE_S)
        with contextlib.suppress(OSError):
            os.write(2, b"Interrupted.\n")
        os._exit(self.exit_code())
