"""What stands between two threads of a stream: room for a few items, and a count of those that were dropped."""

import collections
import threading
import time
from typing import Optional

WAITING = object()
"""What `Channel.get` gives when its time is up and nothing has come."""


class Channel:
    """A bounded queue from one thread to another.

    Attributes:
        dropped: items that were put and will never be got: replaced by newer ones, refused or thrown away after
            `abort`.
    """

    def __init__(self, size: int, *, newest: bool = False):
        """
        Args:
            size: items that it holds at most.
            newest: a full channel drops its oldest item for the new one; without it `put` waits for room.
        """
        self._size, self._newest = size, newest
        self._items = collections.deque()  # type: collections.deque
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item) -> bool:
        """Hands an item over. False where the channel has been closed or aborted: then the item is counted as
        dropped."""
        with self._changed:
            while not self._closed and not self._newest and len(self._items) >= self._size:
                self._changed.wait()
            if self._closed:
                self.dropped += 1
                return False
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: Optional[float] = None):
        """The oldest item; None when the channel is closed and empty, or aborted; WAITING after `timeout` seconds
        without an item."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items and not self._closed:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return WAITING
                self._changed.wait(left)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self):
        """What comes, until the channel is closed and empty."""
        while True:
            item = self.get()
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Nothing more is put; what is there can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Closes the channel and drops what is in it."""
        with self._changed:
            self._closed = True
            self.dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()
