"""The bounded queue between two threads of a stream, which counts what it drops."""

import collections
import threading
import time
from typing import Any, Deque, Iterator, Optional

TIMED_OUT = object()
"""What `FrameQueue.get` returns if no item came in time."""


class FrameQueue:
    """A bounded queue from one thread to another.

    Attributes:
        dropped: items that a newer one has replaced.
    """

    def __init__(self, size: int, *, drop_oldest: bool = False):
        """Make a queue of at most `size` items; when it is full, `put` drops the oldest item or else waits."""
        self._size, self._drop_oldest = size, drop_oldest
        self._items: Deque[Any] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item) -> bool:
        """Add an item. Return False if the queue is closed: then the item is refused."""
        with self._changed:
            while not self._closed and len(self._items) >= self._size:
                if self._drop_oldest:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: Optional[float] = None) -> Any:
        """Return the oldest item, None if the queue is closed and empty, or TIMED_OUT after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items and not self._closed:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return TIMED_OUT
                self._changed.wait(left)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Any]:
        """Yield items until the queue is closed and empty."""
        item = self.get()
        while item is not None:  # by identity: arrays compare element by element
            yield item
            item = self.get()

    def close(self) -> None:
        """Refuse new items; those inside can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Close the queue and discard the items inside."""
        with self._changed:
            self._items.clear()
            self.close()
