"""The queue from the sources of a stream to the thread that takes their frames in turn; it counts what it drops."""

import collections
import threading
import time
from typing import Any, Deque, Iterator, List, Optional, Sequence

from deeplab_tf.deploy.video.frame_queue import TIMED_OUT


class FairQueue:
    """A bounded place for each source. `get` takes from the places in turn, and passes over the empty ones: no source
    waits for another, and those that always have a frame get equal shares.

    Attributes:
        dropped: items of each place that a newer one has replaced.
    """

    def __init__(self, sizes: Sequence[int], drop_oldest: Sequence[bool]):
        """Make a place for each source; where one is full, `put` drops its oldest item or else waits."""
        self._sizes, self._drop_oldest = list(sizes), list(drop_oldest)
        self._places: List[Deque[Any]] = [collections.deque() for _ in self._sizes]
        self._open = [True] * len(self._sizes)
        self._changed = threading.Condition()
        self._turn = 0  # the place that is looked at first
        self.dropped = [0] * len(self._sizes)

    def put(self, item, place: int = 0) -> bool:
        """Add an item. Return False if the place is closed: then the item is refused."""
        items = self._places[place]
        with self._changed:
            while self._open[place] and len(items) >= self._sizes[place]:
                if self._drop_oldest[place]:
                    items.popleft()
                    self.dropped[place] += 1
                else:
                    self._changed.wait()
            if not self._open[place]:
                return False
            items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: Optional[float] = None) -> Any:
        """Return the oldest item of the place whose turn it is, None if all places are closed and empty, or TIMED_OUT
        after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                place = self._next()
                if place is not None:
                    self._turn = (place + 1) % len(self._places)
                    item = self._places[place].popleft()
                    self._changed.notify_all()
                    return item
                if not any(self._open):
                    return None
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return TIMED_OUT
                self._changed.wait(left)

    def _next(self) -> Optional[int]:
        places = ((self._turn + i) % len(self._places) for i in range(len(self._places)))
        return next((place for place in places if self._places[place]), None)

    def __iter__(self) -> Iterator[Any]:
        """Yield items until all places are closed and empty."""
        item = self.get()
        while item is not None:  # by identity: arrays compare element by element
            yield item
            item = self.get()

    def close(self, place: Optional[int] = None) -> None:
        """Refuse new items, of one place or of all; those inside can still be got."""
        with self._changed:
            for each in range(len(self._open)) if place is None else [place]:
                self._open[each] = False
            self._changed.notify_all()

    def abort(self) -> None:
        """Close all places and discard the items inside."""
        with self._changed:
            for items in self._places:
                items.clear()
            self.close()
