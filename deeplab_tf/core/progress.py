"""Progress of long work, with rate and time left, for a terminal and for a log."""

import shutil
import sys
import time
from typing import Iterable, Optional, Sized, Union

import click

from deeplab_tf.core.clock import suspended


class progress:
    """Shows progress on standard error: one moving line on a terminal, else a plain line every ten seconds.

    Around a loop, `for path in progress(paths, "score"):`, or by hand, `with progress(steps, "train", unit="steps") as
    bar:` and in it `bar.advance(1, note="loss 0.31")`.
    """

    def __init__(
        self,
        items: Union[Iterable, int],
        label: str,
        *,
        total: Optional[int] = None,
        unit: str = "images",
        done: int = 0,
        slow: int = 0,
    ):
        """
        Args:
            items: what to iterate over, or how many items there are.
            label: the start of the line.
            total: how many items, where `items` has no len().
            unit: what is counted.
            done: how many were done before (a resumed run); they do not count in the rate.
            slow: how many of the first items say nothing about the rest; they do not count in the rate either.
        """
        self.items: Iterable = range(items) if isinstance(items, int) else items
        self.total = len(self.items) if total is None and isinstance(self.items, Sized) else total
        self.label, self.unit = label, unit
        self.first = self.cold = self.done = done
        self.slow = slow
        self.start = self.warm = time.monotonic() - suspended()
        self.moving = sys.stderr.isatty()
        self.shown = self.start if not self.moving else 0.0

    def __iter__(self):
        with self:
            for item in self.items:
                yield item
                self.advance()

    def __enter__(self):
        return self

    def __exit__(self, error_type, error, trace):
        if error_type is None:
            self._write(self._summary(), last=True)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done; `note` ends the line."""
        self.done += count
        now = time.monotonic() - suspended()
        if self.done - self.first <= self.slow:
            self.cold, self.warm = self.done, now
        if now - self.shown >= (0.1 if self.moving else 10.0):
            self.shown = now
            self._write(self._line(now, note))

    def say(self, text: str) -> None:
        """Print a line beside the moving one."""
        say(text)

    def _rate(self, now):
        return (self.done - self.cold) / max(now - self.warm, 1e-9)

    def _line(self, now, note):
        rate = self._rate(now)
        total = "" if self.total is None else f"/{self.total}"
        line = f"{self.label}: {self.done}{total} {self.unit}"
        if rate > 0:
            line += f", {rate:.2f}/s"
        if self.total is not None and rate > 0:
            line += f", {duration((self.total - self.done) / rate)} left"
        return line + (", " + note if note else "")

    def _summary(self):
        now = time.monotonic() - suspended()
        took = duration(now - self.start)
        rate = self._rate(now)
        text = f"{self.label}: {counted(self.done - self.first, self.unit)} in {took}"
        return f"{text}, {rate:.2f}/s" if rate > 0 or not self.slow else text

    def _write(self, line, last=False):
        clear_line()
        if self.moving and not last:
            line = line[: shutil.get_terminal_size().columns - 1] + "\r"  # a line that wraps could not be cleared
        else:
            line += "\n"
        click.echo(line, nl=False, err=True)


def say(text: str) -> None:
    """Print a line to standard error, in place of the moving one of `progress`."""
    clear_line()
    click.echo(text, err=True)


def clear_line() -> None:
    """Clear the moving line of `progress`; the cursor stands at its start."""
    if sys.stderr.isatty():
        click.echo("\x1b[K", nl=False, err=True)


def counted(count: int, unit: str) -> str:
    """Return a count with its unit, a plural: "2 images", or "1 image"."""
    return f"{count} {unit[:-1] if count == 1 else unit}"


def duration(seconds: float) -> str:
    """Return a duration as text: 1.2 s, 3 min 05 s or 2 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(round(seconds)), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
